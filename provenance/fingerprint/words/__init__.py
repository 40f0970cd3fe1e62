"""Keypoints as words of a fixed vocabulary: which records share many of them with a picture?"""
