"""Campaigns: workers that survive what they find, a corpus, buckets and reports."""
