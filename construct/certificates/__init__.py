"""Certificates: proved sup-norm bounds for networks, from their weights."""

from construct.certificates.certificate import Certificate, load_certificate
from construct.certificates.certification import certify, exact_target

__all__ = ["Certificate", "certify", "exact_target", "load_certificate"]
