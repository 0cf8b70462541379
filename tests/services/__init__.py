"""Tests of nodepkg.services."""
