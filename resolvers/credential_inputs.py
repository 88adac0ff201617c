"""The inputs of keys and credentials."""

import strawberry

from domain.services.credentials import DEFAULT_HEADER
from resolvers.inputs import described


@strawberry.input(description="Your own key for a provider of models: it is used instead of the server's.")
class SetProviderKeyInput:
    provider: str = described("The provider, as in the names of its models: “openai”, “anthropic” …", ...)
    key: str = described("The key; it is encrypted, and never shown again.", ...)


@strawberry.input(description="The key for one of your own entries of the model catalogue.")
class SetModelKeyInput:
    model_id: strawberry.ID = described("The entry.", ...)
    key: str = described("The key; it is encrypted, and never shown again.", ...)


@strawberry.input(description="What a tool of the kind MCP_SERVER sends along with every request to its url.")
class SetToolCredentialInput:
    tool_id: strawberry.ID = described("The tool; when its url is changed, its credential is removed.", ...)
    secret: str = described(
        "The whole value of the header, for Authorization with its scheme: “Bearer …”;"
        " it is encrypted, and never shown again.",
        ...,
    )
    header: str = described("The HTTP header in which it is sent.", DEFAULT_HEADER)


@strawberry.input(description="Which credential to forget.")
class RemoveCredentialInput:
    id: strawberry.ID = described("The credential.", ...)
