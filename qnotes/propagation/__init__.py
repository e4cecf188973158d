"""What travels through a network: one walk, and a file for each domain.

Two of them, `profiles` and `profile_bounds`, need no torch: nothing is imported here.
"""
