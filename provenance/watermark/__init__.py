"""The invisible mark: payload, coding, statistics, codecs."""
