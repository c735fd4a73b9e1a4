"""The contracts: everything that people, workflows and workers send each other.

Histories record these models, so field names are stable and a new field is optional.
"""
