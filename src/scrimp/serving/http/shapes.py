"""What is said over HTTP: strict requests, in which everything is bounded, and answers, both as OpenAI names them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ANSWERS", "Chat", "ChatChoice", "ChatCompletion", "ChatMessage", "Classification", "Classify", "Completion",
           "Embeddings", "EmbeddingsAnswer", "Generated", "Models", "Problem", "TextChoice", "TextCompletion", "Usage"]

_MESSAGES = 512
_INPUTS = 256
_STOPS = 4
ANSWERS = 8  #: of one request
_TOKENS = 1 << 20  # no model's context is longer; the server's own limit is told when it is passed
Text = Annotated[str, Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=64)]


class _Strict(BaseModel):
    """No unknown key, and nothing taken for what it is not."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, protected_namespaces=())


class ChatMessage(_Strict):
    """One message; its content is text."""

    role: Literal["system", "user", "assistant"]
    content: str


class StreamOptions(_Strict):
    """Of a stream."""

    include_usage: bool = False


class Asking(_Strict):
    """What all requests have.

    Attributes:
        model: as `/v1/models` names it.
        user: is not looked at.
    """

    model: Annotated[str, Field(min_length=1, max_length=128)]
    user: Annotated[str, Field(max_length=256)] | None = None


class Generated(Asking):
    """What all requests for text have. Penalties other than 0 are not known here."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    n: Annotated[int, Field(ge=1, le=ANSWERS)] | None = 1
    max_tokens: Annotated[int, Field(ge=1, le=_TOKENS)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=_STOPS)] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    frequency_penalty: Literal[0] | None = 0
    presence_penalty: Literal[0] | None = 0

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop texts."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def asked_tokens(self) -> int | None:
        """New tokens at most, as they were asked for."""
        return self.max_tokens


class Chat(Generated):
    """A conversation to go on with."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, le=_TOKENS)] | None = None

    @property
    def asked_tokens(self) -> int | None:
        return self.max_completion_tokens or self.max_tokens


class Completion(Generated):
    """A text to go on with, or several; control tokens that are spelled in it are text."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=ANSWERS)]

    @property
    def prompts(self) -> list[str]:
        """The texts."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class _Inputs(Asking):
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=_INPUTS)]

    @property
    def texts(self) -> list[str]:
        """The texts."""
        return [self.input] if isinstance(self.input, str) else self.input


class Embeddings(_Inputs):
    """Texts whose vectors are wanted."""

    encoding_format: Literal["float", "base64"] | None = "float"


class Classify(_Inputs):
    """Texts whose labels are wanted."""


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int


class ChatChoice(BaseModel):
    """One answer of the assistant."""

    index: int
    message: dict[str, Any]
    finish_reason: str
    logprobs: None = None


class TextChoice(BaseModel):
    """One text that goes on."""

    index: int
    text: str
    finish_reason: str
    logprobs: None = None


class ChatCompletion(BaseModel):
    """The answers to a conversation."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextCompletion(BaseModel):
    """How texts go on: ``n`` times the first, then ``n`` times the second, and so forth."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Vector(BaseModel):
    """Of one text; in base64, that of its float32 numbers in little-endian order."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsAnswer(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"] = "list"
    model: str
    data: list[Vector]
    usage: Usage


class Label(BaseModel):
    """Of one text: the most probable label, and the probabilities of all."""

    index: int
    label: str
    scores: dict[str, float]


class Labels(BaseModel):
    """Of one text: the labels that it is said to have, and the probability of each by itself."""

    index: int
    labels: list[str]
    scores: dict[str, float]


class Classification(BaseModel):
    """The labels, in the order of the texts; of a model that says several, each text has a list of them."""

    object: Literal["list"] = "list"
    model: str
    data: list[Label | Labels]


class ModelCard(BaseModel):
    """One model, what can be asked of it, and its labels."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "scrimp"
    can: list[str]
    labels: list[str]


class Models(BaseModel):
    """Everything that is served."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Fault(BaseModel):
    """What is wrong with a request, or went wrong with an answer."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(BaseModel):
    """An error."""

    error: Fault
