"""`taximeter replay ...`: change what was counted by plans of adjustments, which are shown before they are applied and can be taken back."""
