"""One recipe under several methods, side by side: which one for these rows?"""
