;; The checksum of Luhn (ISO/IEC 7812): from the right, every second digit is doubled, and the digits of all that add
;; up to a multiple of ten. Memory: results up to 96, texts from 256, and from 4096 on what gpak writes. A call has a
;; fresh instance, so nothing is ever freed.
(module
  (memory (export "memory") 1)
  (global $heap (mut i32) (i32.const 4096))

  (data (i32.const 256) "luhn_check")
  (data (i32.const 288)
    "Checks a card, IMEI or account number by its last digit (Luhn). A valid number may still not exist.")
  (data (i32.const 512)
    "{\"type\":\"object\",\"required\":[\"number\"],\"additionalProperties\":false,\"properties\":{\"number\":"
    "{\"type\":\"string\",\"description\":\"Digits, spaces and hyphens\",\"pattern\":\"^[0-9 -]{2,64}$\"}}}")
  (data (i32.const 768) "the number has fewer than two digits")
  (data (i32.const 832) "{\"valid\":true}")
  (data (i32.const 848) "{\"valid\":false}")

  ;; What it says of itself: a list of one `tool-spec`. The host reads addresses and lengths of the texts above.
  (func (export "describe") (result i32)
    (call $text (i32.const 32) (i32.const 256) (i32.const 10))   ;; name
    (call $text (i32.const 40) (i32.const 288) (i32.const 99))   ;; description
    (call $text (i32.const 48) (i32.const 512) (i32.const 181))  ;; input-schema
    (i32.store (i32.const 56) (i32.const 0))                     ;; output-schema: none
    (i32.store (i32.const 68) (i32.const 0))                     ;; effect: pure; it cannot compensate
    (call $text (i32.const 16) (i32.const 32) (i32.const 1))     ;; the list
    (i32.const 16))

  ;; The input is {"number":"…"}, as the schema has it: all digits there are are of the number.
  (func (export "invoke")
    (param $id i32) (param $id_length i32) (param $attempt i32) (param $tool i32) (param $tool_length i32)
    (param $input i32) (param $input_length i32) (result i32)
    (local $at i32) (local $digit i32) (local $count i32) (local $sum i32)
    (local.set $at (i32.add (local.get $input) (local.get $input_length)))
    (block $read (loop $next
      (br_if $read (i32.le_u (local.get $at) (local.get $input)))
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (local.set $digit (i32.sub (i32.load8_u (local.get $at)) (i32.const 48)))
      (br_if $next (i32.ge_u (local.get $digit) (i32.const 10)))
      ;; Every second is doubled; of 10 to 18, the digits add up to 9 less.
      (if (i32.and (local.get $count) (i32.const 1))
        (then
          (local.set $digit (i32.shl (local.get $digit) (i32.const 1)))
          (if (i32.ge_u (local.get $digit) (i32.const 10))
            (then (local.set $digit (i32.sub (local.get $digit) (i32.const 9)))))))
      (local.set $sum (i32.add (local.get $sum) (local.get $digit)))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (br $next)))
    (if (i32.lt_u (local.get $count) (i32.const 2))
      (then (return (call $invalid_input (i32.const 768) (i32.const 36)))))
    (if (i32.rem_u (local.get $sum) (i32.const 10))
      (then (return (call $ok (i32.const 848) (i32.const 15)))))
    (call $ok (i32.const 832) (i32.const 14)))

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
