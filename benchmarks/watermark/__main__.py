"""``python -m benchmarks.watermark``: see `benchmarks.watermark.run`."""

from benchmarks.watermark.run import main

if __name__ == "__main__":
    raise SystemExit(main())
