/* Checksums of 32 bits, of the UTF-8 of a text. */
#include "guest.h"

const tool_t tools[] = { {
    .name = TEXT("checksum"),
    .description = TEXT("The checksum of a text's UTF-8, in hexadecimal: CRC-32 (as in zip and PNG) unless another is named."),
    .input_schema = TEXT(
        "{\"type\": \"object\", \"required\": [\"text\"], \"additionalProperties\": false, \"properties\": {"
        "\"text\": {\"type\": \"string\"},"
        "\"algorithm\": {\"enum\": [\"crc32\", \"crc32c\", \"adler32\", \"fnv1a\"]}}}"),
    .has_output_schema = 1,
    .output_schema = TEXT(
        "{\"type\": \"object\", \"required\": [\"algorithm\", \"bytes\", \"checksum\"], \"properties\": {"
        "\"algorithm\": {\"type\": \"string\"}, \"bytes\": {\"type\": \"integer\"},"
        "\"checksum\": {\"type\": \"string\", \"pattern\": \"^[0-9a-f]{8}$\"}}}"),
    .effect = PURE,
} };
const size_t tool_count = 1;

/* A cyclic redundancy check of a polynomial, its bits from the lowest on. */
static uint32_t crc(text_t text, uint32_t polynomial)
{
    uint32_t sum = ~0u;
    for (size_t i = 0; i < text.length; i++) {
        sum ^= (uint8_t)text.bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = (sum >> 1) ^ (sum & 1 ? polynomial : 0);
    }
    return ~sum;
}

/* RFC 1950. */
static uint32_t adler32(text_t text)
{
    uint32_t a = 1, b = 0;
    for (size_t i = 0; i < text.length; i++) {
        a = (a + (uint8_t)text.bytes[i]) % 65521;
        b = (b + a) % 65521;
    }
    return b << 16 | a;
}

static uint32_t fnv1a(text_t text)
{
    uint32_t sum = 2166136261u;
    for (size_t i = 0; i < text.length; i++)
        sum = (sum ^ (uint8_t)text.bytes[i]) * 16777619u;
    return sum;
}

static enum outcome run(text_t tool, text_t input)
{
    (void)tool; /* There is only one. */
    text_t text = unquoted(member(input, "text"));
    text_t algorithm = unquoted(member(input, "algorithm"));
    if (!algorithm.length)
        algorithm = (text_t)TEXT("crc32");
    uint32_t sum = same(algorithm, "adler32") ? adler32(text)
                 : same(algorithm, "fnv1a")   ? fnv1a(text)
                 : same(algorithm, "crc32c")  ? crc(text, 0x82f63b78)
                                              : crc(text, 0xedb88320);
    char digits[8];
    for (int i = 0; i < 8; i++)
        digits[i] = "0123456789abcdef"[sum >> (28 - 4 * i) & 15];
    say("{\"algorithm\":\"");
    say_bytes(algorithm.bytes, algorithm.length);
    say("\",\"bytes\":");
    say_number(text.length);
    say(",\"checksum\":\"");
    say_bytes(digits, sizeof digits);
    say("\"}");
    return DONE;
}
