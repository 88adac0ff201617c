"""The GraphQL contract: types, fields, errors, and which resolver supplies each field."""
