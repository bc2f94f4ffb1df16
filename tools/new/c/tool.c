#include "guest.h"

const tool_t tools[] = { {
    .name = TEXT("my_tool"),
    .description = TEXT("Counts the words of a text."),
    .input_schema = TEXT(
        "{\"type\": \"object\", \"required\": [\"text\"], \"additionalProperties\": false,"
        " \"properties\": {\"text\": {\"type\": \"string\"}}}"),
    .effect = PURE,
} };
const size_t tool_count = 1;

static enum outcome run(text_t tool, text_t input)
{
    (void)tool; /* There is only one. */
    text_t text = unquoted(member(input, "text"));
    uint64_t words = 0;
    int in_word = 0;
    for (size_t i = 0; i < text.length; i++) {
        char c = text.bytes[i];
        int is_space = c == ' ' || (c >= '\t' && c <= '\r');
        words += !is_space && !in_word;
        in_word = !is_space;
    }
    if (!words) {
        say("there are no words in the text");
        return INVALID_INPUT;
    }
    say("{\"words\":");
    say_number(words);
    say("}");
    return DONE;
}
