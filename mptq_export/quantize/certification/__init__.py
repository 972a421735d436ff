"""Which tables of Exp and the activation functions are exact on every runtime."""
