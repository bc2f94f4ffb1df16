;; A tool of the world in wit/tool.wit, with the canonical ABI by hand. Memory: results up to 96, texts from 256,
;; and from 4096 on what gpak writes. A call has a fresh instance, so nothing is ever freed.
(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))

  (data (i32.const 256) "my_tool")
  (data (i32.const 384) "Adds up whole numbers.")
  (data (i32.const 512)
    "{\"type\":\"object\",\"required\":[\"numbers\"],\"additionalProperties\":false,\"properties\":{\"numbers\":"
    "{\"type\":\"array\",\"maxItems\":1000,\"items\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":9007199254740991}}}}")
  (data (i32.const 768) "there are no numbers to add")

  ;; What it says of itself: a list of one `tool-spec`. The host reads addresses and lengths of the texts above.
  (func (export "describe") (result i32)
    (call $text (i32.const 32) (i32.const 256) (i32.const NAME_LENGTH))   ;; name
    (call $text (i32.const 40) (i32.const 384) (i32.const 22))            ;; description
    (call $text (i32.const 48) (i32.const 512) (i32.const 193))           ;; input-schema
    (i32.store (i32.const 56) (i32.const 0))                              ;; output-schema: none
    (i32.store (i32.const 68) (i32.const 0))                              ;; effect: pure; it cannot compensate
    (call $text (i32.const 16) (i32.const 32) (i32.const 1))              ;; the list
    (i32.const 16))

  ;; The input is JSON that the schema accepts: {"numbers":[1,20,300]}. A whole number may be written as 20.0.
  (func (export "invoke")
    (param $id i32) (param $id_length i32) (param $attempt i32) (param $tool i32) (param $tool_length i32)
    (param $input i32) (param $input_length i32) (result i32)
    (local $end i32) (local $byte i32) (local $count i32) (local $number i64) (local $sum i64)
    (local $in_number i32) (local $in_fraction i32)
    (local.set $end (i32.add (local.get $input) (local.get $input_length)))
    (block $read (loop $next
      (br_if $read (i32.ge_u (local.get $input) (local.get $end)))
      (local.set $byte (i32.load8_u (local.get $input)))
      (local.set $input (i32.add (local.get $input) (i32.const 1)))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 48)) (i32.const 10))
        (then
          (br_if $next (local.get $in_fraction))
          (local.set $count (i32.add (local.get $count) (i32.eqz (local.get $in_number))))
          (local.set $in_number (i32.const 1))
          (local.set $number (i64.add (i64.mul (local.get $number) (i64.const 10))
            (i64.extend_i32_u (i32.sub (local.get $byte) (i32.const 48))))))
        (else
          (local.set $in_fraction (i32.eq (local.get $byte) (i32.const 46)))
          (local.set $in_number (i32.const 0))
          (local.set $sum (i64.add (local.get $sum) (local.get $number)))
          (local.set $number (i64.const 0))))
      (br $next)))
    (if (i32.eqz (local.get $count))
      (then (return (call $invalid_input (i32.const 768) (i32.const 27)))))
    (call $ok_number (local.get $sum)))

  ;; A text or a list: where it is and how long.
  (func $text (param $at i32) (param $address i32) (param $length i32)
    (i32.store (local.get $at) (local.get $address))
    (i32.store offset=4 (local.get $at) (local.get $length)))

  ;; ok(text)
  (func $ok (param $address i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 0))
    (call $text (i32.const 20) (local.get $address) (local.get $length))
    (i32.const 16))

  ;; err(invalid-input(text)): the model reads what was wrong.
  (func $invalid_input (param $address i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1))
    (i32.store (i32.const 20) (i32.const 0))
    (call $text (i32.const 24) (local.get $address) (local.get $length))
    (i32.const 16))

  ;; ok(the digits of a number), written before 256 from the last on.
  (func $ok_number (param $number i64) (result i32)
    (local $at i32)
    (local.set $at (i32.const 256))
    (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $next (i64.ne (local.get $number) (i64.const 0))))
    (call $ok (local.get $at) (i32.sub (i32.const 256) (local.get $at))))

  ;; Room for what gpak writes: the arguments of a call.
  (func (export "cabi_realloc")
    (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (block $fits (loop $grow
      (br_if $fits (i32.le_u (global.get $heap) (i32.shl (memory.size) (i32.const 16))))
      (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
      (br $grow)))
    (local.get $at)))
