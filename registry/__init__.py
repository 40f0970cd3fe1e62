"""The registry: records, their log, and how pictures are found again."""
