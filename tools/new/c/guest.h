/* What is between a tool in C and gpak: the canonical ABI of the world gpak:tool@0.1.0 by hand, and as much
 * JSON as a small tool needs. Include it once. It wants no library: -nostdlib -ffreestanding.
 *
 * The tool defines `tools` (a table of `tool_t`, and `tool_count`) and `run`.
 */
#include <stddef.h>
#include <stdint.h>

/* UTF-8, not ended by a zero. */
typedef struct { const char *bytes; size_t length; } text_t;
#define TEXT(literal) { (literal), sizeof(literal) - 1 }

/* What a call does to the world. */
enum effect { PURE, IDEMPOTENT, REVERSIBLE, IRREVERSIBLE };

/* `tool-spec` of wit/tool.wit. */
typedef struct {
    text_t name;
    text_t description;
    text_t input_schema;
    uint8_t has_output_schema;
    text_t output_schema;
    uint8_t effect;
    uint8_t can_compensate;
    uint8_t resumable;
} tool_t;

extern const tool_t tools[];
extern const size_t tool_count;

/* What is given back: JSON text, or why there is none. */
enum outcome { DONE, INVALID_INPUT, FAILED };

/* Makes a call of `tool` with `input`, which the input schema accepts; what it `say`s is its result. */
static enum outcome run(text_t tool, text_t input);

/* ---- memory: every call has a fresh instance, so nothing is ever freed ---- */

extern char __heap_base;
static char *heap = &__heap_base;

static void *allocate(size_t align, size_t size)
{
    char *at = (char *)(((uintptr_t)heap + align - 1) & ~(uintptr_t)(align - 1));
    size_t page = 65536, have = __builtin_wasm_memory_size(0) * page;
    if (size > have - (uintptr_t)at) {
        size_t pages = (size - (have - (uintptr_t)at) + page - 1) / page;
        if (__builtin_wasm_memory_grow(0, pages) == (size_t)-1)
            __builtin_trap();
    }
    heap = at + size;
    return at;
}

/* ---- the result ---- */

static char *said;
static size_t said_length, said_room;

static void say_bytes(const char *bytes, size_t length)
{
    if (said_room - said_length < length) {
        char *old = said;
        said_room = 2 * said_room + length + 64;
        said = allocate(1, said_room);
        for (size_t i = 0; i < said_length; i++)
            said[i] = old[i];
    }
    for (size_t i = 0; i < length; i++)
        said[said_length + i] = bytes[i];
    said_length += length;
}

#define say(literal) say_bytes((literal), sizeof(literal) - 1)

__attribute__((unused))
static void say_number(uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = '0' + number % 10;
    while (number /= 10);
    say_bytes(digits + at, sizeof digits - at);
}

/* ---- JSON: it was checked before it came here, so what follows trusts it ---- */

__attribute__((unused))
static int same(text_t text, const char *other)
{
    size_t i = 0;
    while (i < text.length && other[i] && text.bytes[i] == other[i])
        i++;
    return i == text.length && !other[i];
}

/* Where the value at `at` ends. */
static size_t value_end(text_t json, size_t at)
{
    int depth = 0, in_string = 0;
    for (; at < json.length; at++) {
        char c = json.bytes[at];
        if (in_string) {
            if (c == '\\')
                at++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']' || c == ',') {
            if (depth == 0)
                return at;
            depth -= c != ',';
        }
    }
    return at;
}

/* The JSON of a member of an object; of length 0 if it has none of that name. */
__attribute__((unused))
static text_t member(text_t object, const char *name)
{
    size_t at = 1;
    while (at < object.length) {
        while (at < object.length && object.bytes[at] != '"')
            at++;
        size_t from = ++at;
        while (at < object.length && object.bytes[at] != '"')
            at += object.bytes[at] == '\\' ? 2 : 1;
        text_t found = { object.bytes + from, at - from };
        while (at < object.length && object.bytes[at] != ':')
            at++;
        size_t end = value_end(object, ++at);
        if (end <= object.length && same(found, name))
            return (text_t){ object.bytes + at, end - at };
        at = end + 1;
    }
    return (text_t){ 0, 0 };
}

static uint32_t hex(const char *at)
{
    uint32_t code = 0;
    for (int i = 0; i < 4; i++)
        code = code * 16 + (at[i] <= '9' ? at[i] - '0' : (at[i] | 32) - 'a' + 10);
    return code;
}

static size_t put_utf8(char *to, uint32_t code)
{
    static const uint8_t marks[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)((length > 1 ? marks[length] : 0) | code);
    return length;
}

/* The text that a JSON string stands for. */
__attribute__((unused))
static text_t unquoted(text_t json)
{
    char *bytes = allocate(1, json.length);
    size_t length = 0, at = 0;
    while (at < json.length && json.bytes[at] != '"')
        at++;
    for (at++; at < json.length && json.bytes[at] != '"'; at++) {
        char c = json.bytes[at];
        if (c != '\\') {
            bytes[length++] = c;
            continue;
        }
        c = json.bytes[++at];
        if (c != 'u') {
            bytes[length++] = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'b' ? '\b' : c == 'f' ? '\f' : c;
            continue;
        }
        uint32_t code = hex(json.bytes + at + 1);
        at += 4;
        if (code >= 0xd800 && code < 0xdc00 && at + 6 < json.length) {
            code = 0x10000 + ((code - 0xd800) << 10) + (hex(json.bytes + at + 3) - 0xdc00);
            at += 6;
        }
        length += put_utf8(bytes + length, code);
    }
    return (text_t){ bytes, length };
}

/* ---- what gpak calls ---- */

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size)
{
    char *bytes = allocate(align, size);
    for (size_t i = 0; i < old_size && i < size; i++)
        bytes[i] = ((char *)old)[i];
    return bytes;
}

__attribute__((export_name("describe")))
const void *gpak_describe(void)
{
    static struct { const tool_t *tools; size_t count; } list;
    list.tools = tools;
    list.count = tool_count;
    return &list;
}

__attribute__((export_name("invoke")))
const void *gpak_invoke(const char *id, size_t id_length, uint32_t attempt, const char *tool, size_t tool_length,
                        const char *input, size_t input_length)
{
    /* result<string, error> */
    static struct {
        uint8_t is_error;
        union { text_t output; struct { uint8_t kind; text_t why; } error; } as;
    } result;
    (void)id, (void)id_length, (void)attempt;
    enum outcome outcome = run((text_t){ tool, tool_length }, (text_t){ input, input_length });
    text_t text = { said, said_length };
    result.is_error = outcome != DONE;
    if (outcome == DONE) {
        result.as.output = text;
    } else {
        result.as.error.kind = outcome == FAILED;
        result.as.error.why = text;
    }
    return &result;
}
