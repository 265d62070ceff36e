"""What commands leave behind: folders whose files appear together, who writes into them, the results of each kind, and
reading them again.
"""
