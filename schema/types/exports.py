"""Downloads."""

import strawberry


@strawberry.type(description="A file that can be downloaded.")
class Export:
    url: str = strawberry.field(
        description="The path on this server, with the filter in it: to GET, as anybody may who may ask the graph."
    )
    media_type: str = strawberry.field(description="What it is, as HTTP says it.")
    file_name: str = strawberry.field(description="What it is called if it is downloaded today, in UTC.")
