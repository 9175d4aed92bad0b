"""What surveys say of whole states, a module each; `reporting.whole_states` joins them.

Every function takes the rows of one table and gives parts; without rows it gives none.
"""
