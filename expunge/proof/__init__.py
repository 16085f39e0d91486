"""The proof: certificates, signatures, verification, promotion, the daily audit."""
