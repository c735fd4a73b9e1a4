"""Interfaces that other programs use: text, starts and tenants of the gateway, MCP servers, under kills."""
