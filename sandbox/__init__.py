"""A stand-in for Azure Managed HSM, for Microsoft Entra ID's sign-in of its clients, and for a part of Graph.

For trying out and for tests. It stands alone: it imports nothing of the rest of the project, and its core
imports no Django. **It protects nothing**: private keys and client secrets lie in clear in its data
directory.

What it answers follows recorded traffic of the real services. Where no recording exists the text of a refusal
is taken from the vendor's documentation or assumed; ``errors.py`` says which.
"""
