"""Azure Managed HSM through azure-keyvault-keys and azure-identity."""
