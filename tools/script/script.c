/* QuickJS-ng as a component of the world `script` (tools/wit/script.wit).
 *
 * What the canonical ABI wants is written out by hand: strings are a pointer and a length, results of
 * functions a pointer to a struct, and what is given to the host is freed when it calls `cabi_post_…`.
 * The runtime is made before the component is (see build.sh), and the prelude is run, so that an instance begins
 * with them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quickjs.h"

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("gpak:tool/script-host@0.1.0"), import_name(name)))

/* Stack that JavaScript may take as QuickJS counts it, below what the linker gives (build.sh). The engine's own
 * stack is mostly used up before: that ends the script with a word of its own. */
#define STACK (256 * 1024)
/* How deep JSON may be nested. QuickJS counts its own stack, and not the engine's, which is used up first. */
#define JSON_DEPTH 1000

typedef struct { char *bytes; size_t length; } string_t;
typedef struct { uint8_t failed; string_t text; } called_t;

/* result<string, script-error> */
typedef struct {
    uint8_t failed;
    string_t text;
    uint8_t has_line;
    uint32_t line;
    uint8_t has_column;
    uint32_t column;
} ended_t;

IMPORT("call") void host_call(const char *, size_t, const char *, size_t, called_t *);
IMPORT("print") void host_print(const char *, size_t);
IMPORT("go-on") int host_go_on(uint32_t);

static const char prelude[] = {
#embed "prelude.js"
    , 0};

static JSRuntime *runtime;
static JSContext *context;
static int is_being_made;
static int sources;
static ended_t ended;

EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size)
{
    (void)old_size;
    if (size == 0)
        return (void *)align;
    void *new = realloc(old, size);
    if (!new)
        __builtin_trap();
    return new;
}

/* ---- what scripts are given ---- */

/* host.call(name, json): what the host answers, or what it throws. */
static JSValue js_call(JSContext *cx, JSValueConst self, int count, JSValueConst *args)
{
    (void)self;
    size_t name_length, input_length;
    const char *name = JS_ToCStringLen(cx, &name_length, count > 0 ? args[0] : JS_UNDEFINED);
    if (!name)
        return JS_EXCEPTION;
    const char *input = JS_ToCStringLen(cx, &input_length, count > 1 ? args[1] : JS_UNDEFINED);
    if (!input) {
        JS_FreeCString(cx, name);
        return JS_EXCEPTION;
    }
    called_t called = {0};
    host_call(name, name_length, input, input_length, &called);
    JS_FreeCString(cx, name);
    JS_FreeCString(cx, input);
    JSValue value = JS_NewStringLen(cx, called.text.bytes, called.text.length);
    if (called.text.length)
        free(called.text.bytes);
    if (!called.failed || JS_IsException(value))
        return value;
    const char *message = JS_ToCString(cx, value);
    JS_FreeValue(cx, value);
    if (message) {
        JS_ThrowPlainError(cx, "%s", message);
        JS_FreeCString(cx, message);
    }
    return JS_EXCEPTION;
}

static JSValue js_print(JSContext *cx, JSValueConst self, int count, JSValueConst *args)
{
    (void)self;
    size_t length;
    const char *line = JS_ToCStringLen(cx, &length, count > 0 ? args[0] : JS_UNDEFINED);
    if (!line)
        return JS_EXCEPTION;
    host_print(line, length);
    JS_FreeCString(cx, line);
    return JS_UNDEFINED;
}

static JSValue real_parse;

/* JSON.parse for texts that are not nested too deep. */
static JSValue js_parse(JSContext *cx, JSValueConst self, int count, JSValueConst *args)
{
    size_t length;
    const char *text = JS_ToCStringLen(cx, &length, count > 0 ? args[0] : JS_UNDEFINED);
    if (!text)
        return JS_EXCEPTION;
    int depth = 0, deepest = 0, quoted = 0;
    for (size_t at = 0; at < length; at++) {
        char byte = text[at];
        if (quoted) {
            if (byte == '\\')
                at++;
            else if (byte == '"')
                quoted = 0;
        } else if (byte == '"') {
            quoted = 1;
        } else if (byte == '[' || byte == '{') {
            if (++depth > deepest)
                deepest = depth;
        } else if (byte == ']' || byte == '}') {
            depth--;
        }
    }
    JS_FreeCString(cx, text);
    if (deepest > JSON_DEPTH)
        return JS_ThrowRangeError(cx, "JSON.parse: nested deeper than %d", JSON_DEPTH);
    return JS_Call(cx, real_parse, self, count, args);
}

static int stop(JSRuntime *rt, void *opaque)
{
    (void)rt;
    (void)opaque;
    return !is_being_made && !host_go_on(0);
}

static void begin(void)
{
    runtime = JS_NewRuntime();
    JS_SetMaxStackSize(runtime, STACK);
    JS_SetInterruptHandler(runtime, stop, NULL);
    context = JS_NewContext(runtime);
    JSValue global = JS_GetGlobalObject(context);
    JSValue host = JS_NewObject(context);
    JS_SetPropertyStr(context, host, "call", JS_NewCFunction(context, js_call, "call", 2));
    JS_SetPropertyStr(context, host, "print", JS_NewCFunction(context, js_print, "print", 1));
    JS_SetPropertyStr(context, global, "host", host);
    JSValue json = JS_GetPropertyStr(context, global, "JSON");
    real_parse = JS_GetPropertyStr(context, json, "parse");
    JS_SetPropertyStr(context, json, "parse", JS_NewCFunction(context, js_parse, "parse", 2));
    JS_FreeValue(context, json);
    JS_FreeValue(context, global);
    JSValue ran = JS_Eval(context, prelude, sizeof prelude - 1, "prelude.js", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(ran))
        __builtin_trap();
    JS_FreeValue(context, ran);
}

/* Called when the component is made (build.sh), and never after. */
EXPORT("wizer-initialize")
void initialize(void)
{
    is_being_made = 1;
    begin();
    is_being_made = 0;
}

/* ---- what comes of them ---- */

static ended_t *end(int failed, const char *text, size_t length)
{
    ended = (ended_t){.failed = failed};
    ended.text.bytes = cabi_realloc(NULL, 0, 1, length + 1);
    memcpy(ended.text.bytes, text, length);
    ended.text.length = length;
    return &ended;
}

static void release(ended_t *done)
{
    free(done->text.bytes);
    done->text.bytes = NULL;
}

/* The name of a source, as a stack shows it. */
static void name_source(char *name, size_t room, int number)
{
    snprintf(name, room, "script-%d.js", number);
}

/* The first place of a stack that is in the latest source. */
static void locate(const char *stack, ended_t *done)
{
    char name[32];
    name_source(name, sizeof name, sources);
    const char *place = strstr(stack, name);
    if (!place)
        return;
    place += strlen(name);
    char *rest;
    if (*place != ':')
        return;
    done->line = strtoul(place + 1, &rest, 10);
    done->has_line = rest != place + 1;
    if (!done->has_line || *rest != ':')
        return;
    place = rest;
    done->column = strtoul(place + 1, &rest, 10);
    done->has_column = rest != place + 1;
}

/* What was thrown. */
static ended_t *thrown(void)
{
    JSValue error = JS_GetException(context);
    JS_ResetUncatchableError(context);
    size_t length = 0;
    const char *message = JS_ToCStringLen(context, &length, error);
    if (!message) {
        JS_FreeValue(context, JS_GetException(context));
        end(1, "something was thrown that has no text", 37);
    } else {
        end(1, message, length);
        JS_FreeCString(context, message);
    }
    JSValue stack = JS_IsObject(error) ? JS_GetPropertyStr(context, error, "stack") : JS_UNDEFINED;
    const char *text = JS_IsString(stack) ? JS_ToCString(context, stack) : NULL;
    if (text) {
        locate(text, &ended);
        JS_FreeCString(context, text);
    }
    JS_FreeValue(context, stack);
    JS_FreeValue(context, error);
    return &ended;
}

/* Waits for what is waited for. Nothing comes from outside, so a promise that is pending then stays so. */
static JSValue settle(JSValue value)
{
    JSContext *cx;
    int ran;
    while ((ran = JS_ExecutePendingJob(runtime, &cx)) > 0)
        ;
    if (ran < 0) {
        JS_FreeValue(context, value);
        return JS_EXCEPTION;
    }
    if (!JS_IsPromise(value))
        return value;
    JSPromiseStateEnum state = JS_PromiseState(context, value);
    if (state == JS_PROMISE_PENDING) {
        JS_FreeValue(context, value);
        return JS_ThrowPlainError(context, "it waits for a promise that nothing resolves");
    }
    JSValue result = JS_PromiseResult(context, value);
    JS_FreeValue(context, value);
    return state == JS_PROMISE_REJECTED ? JS_Throw(context, result) : result;
}

/* A value as JSON; what JSON does not have (a function, undefined) is null. */
static ended_t *given(JSValue value)
{
    if (JS_IsException(value))
        return thrown();
    JSValue json = JS_JSONStringify(context, value, JS_UNDEFINED, JS_UNDEFINED);
    JS_FreeValue(context, value);
    if (JS_IsException(json))
        return thrown();
    if (JS_IsUndefined(json))
        return end(0, "null", 4);
    size_t length;
    const char *text = JS_ToCStringLen(context, &length, json);
    JS_FreeValue(context, json);
    if (!text)
        return thrown();
    end(0, text, length);
    JS_FreeCString(context, text);
    return &ended;
}

/* A copy with a zero behind it, as the interpreter wants sources. The original is freed. */
static char *terminated(char *bytes, size_t length)
{
    char *copy = cabi_realloc(NULL, 0, 1, length + 1);
    memcpy(copy, bytes, length);
    copy[length] = 0;
    if (length)
        free(bytes);
    return copy;
}

/* Runs a source as a script that may await. */
EXPORT("load")
ended_t *load(char *bytes, size_t length)
{
    char name[32];
    name_source(name, sizeof name, ++sources);
    char *source = terminated(bytes, length);
    JSValue promise =
        JS_Eval(context, source, length, name, JS_EVAL_TYPE_GLOBAL | JS_EVAL_FLAG_ASYNC);
    free(source);
    if (JS_IsException(promise))
        return thrown();
    JSValue wrapped = settle(promise);
    if (JS_IsException(wrapped))
        return thrown();
    JSValue value = JS_GetPropertyStr(context, wrapped, "value");
    JS_FreeValue(context, wrapped);
    return given(JS_IsException(value) ? value : settle(value));
}

EXPORT("cabi_post_load")
void free_load(ended_t *done)
{
    release(done);
}

/* Calls a function of the global object. */
EXPORT("invoke")
ended_t *invoke(char *name_bytes, size_t name_length, char *input_bytes, size_t input_length)
{
    char *name = terminated(name_bytes, name_length);
    char *input = terminated(input_bytes, input_length);
    JSValue argument = JS_ParseJSON(context, input, input_length, "input");
    free(input);
    JSValue global = JS_GetGlobalObject(context);
    JSValue function = JS_GetPropertyStr(context, global, name);
    JSValue result;
    if (JS_IsException(argument))
        result = JS_EXCEPTION;
    else if (!JS_IsFunction(context, function))
        result = JS_ThrowTypeError(context, "there is no function `%s`", name);
    else
        result = JS_Call(context, function, JS_UNDEFINED, 1, (JSValueConst *)&argument);
    free(name);
    JS_FreeValue(context, function);
    JS_FreeValue(context, global);
    JS_FreeValue(context, argument);
    return given(JS_IsException(result) ? result : settle(result));
}

EXPORT("cabi_post_invoke")
void free_invoke(ended_t *done)
{
    release(done);
}

/* ---- in place of WASI, of which a script has nothing ---- */

typedef int32_t i32;
typedef int64_t i64;
#define WASI(name) i32 __imported_wasi_snapshot_preview1_##name
enum { BAD_FILE = 8, NOT_CAPABLE = 76 };

/* The host's clock, in nanoseconds; fixed while the component is made, so that it is the same each time. */
static uint64_t now(void)
{
    if (is_being_made)
        return 0;
    called_t called = {0};
    host_call("now", 3, "null", 4, &called);
    char digits[24] = {0};
    if (!called.failed && called.text.length < sizeof digits)
        memcpy(digits, called.text.bytes, called.text.length);
    if (called.text.length)
        free(called.text.bytes);
    return strtoull(digits, NULL, 10) * 1000000;
}

WASI(clock_time_get)(i32 clock, i64 precision, i32 time)
{
    (void)clock;
    (void)precision;
    *(uint64_t *)time = now();
    return 0;
}
WASI(clock_res_get)(i32 clock, i32 resolution)
{
    (void)clock;
    *(uint64_t *)resolution = 1000000;
    return 0;
}
WASI(fd_write)(i32 fd, i32 parts, i32 count, i32 written)
{
    (void)fd;
    string_t *part = (string_t *)parts;
    size_t length = 0;
    for (i32 at = 0; at < count; at++)
        length += part[at].length;
    *(size_t *)written = length;
    return 0;
}
WASI(fd_read)(i32 a, i32 b, i32 c, i32 d) { (void)a; (void)b; (void)c; (void)d; return BAD_FILE; }
WASI(fd_close)(i32 a) { (void)a; return BAD_FILE; }
WASI(fd_seek)(i32 a, i64 b, i32 c, i32 d) { (void)a; (void)b; (void)c; (void)d; return BAD_FILE; }
WASI(fd_fdstat_get)(i32 a, i32 b) { (void)a; (void)b; return BAD_FILE; }
WASI(fd_fdstat_set_flags)(i32 a, i32 b) { (void)a; (void)b; return BAD_FILE; }
WASI(fd_prestat_get)(i32 a, i32 b) { (void)a; (void)b; return BAD_FILE; }
WASI(fd_prestat_dir_name)(i32 a, i32 b, i32 c) { (void)a; (void)b; (void)c; return BAD_FILE; }
WASI(path_open)(i32 a, i32 b, i32 c, i32 d, i32 e, i64 f, i64 g, i32 h, i32 i)
{
    (void)a; (void)b; (void)c; (void)d; (void)e; (void)f; (void)g; (void)h; (void)i;
    return NOT_CAPABLE;
}
WASI(environ_get)(i32 a, i32 b) { (void)a; (void)b; return 0; }
WASI(environ_sizes_get)(i32 count, i32 size)
{
    *(i32 *)count = 0;
    *(i32 *)size = 0;
    return 0;
}
WASI(args_get)(i32 a, i32 b) { (void)a; (void)b; return 0; }
WASI(args_sizes_get)(i32 count, i32 size)
{
    *(i32 *)count = 0;
    *(i32 *)size = 0;
    return 0;
}
WASI(random_get)(i32 bytes, i32 count) { memset((void *)bytes, 7, count); return 0; }
_Noreturn void __imported_wasi_snapshot_preview1_proc_exit(i32 code) { (void)code; __builtin_trap(); }
