/**
 * A minimal reader of protobuf's wire format, enough to look into an ONNX file.
 *
 * A message is a sequence of fields; each starts with a varint that holds the field's number and wire type. The type
 * says how the value is stored: 0 varint, 1 eight bytes, 2 a length and that many bytes, 5 four bytes.
 */

const VARINT = 0;
const LENGTH_DELIMITED = 2;
const FIXED_SIZES = { 1: 8, 5: 4 };
const MAX_VARINT_BYTES = 10;

/**
 * Yield a message's fields in file order: `raw` is all of a field, `value` its bytes (empty for a varint).
 *
 * @param {Uint8Array} message
 * @throws {Error} where the bytes are not a message
 */
export function* fields(message) {
  let at = 0;
  while (at < message.length) {
    const tag = varint(message, at);
    const type = tag.value % 8;
    const size = sizeOf(message, tag.end, type);
    const end = size.end + size.value;
    if (end > message.length) throw damaged("it ends in the middle of a field");
    yield { number: Math.floor(tag.value / 8), value: message.subarray(size.end, end), raw: message.subarray(at, end) };
    at = end;
  }
}

/** Return how many bytes a value has, and where they start (`end` of what says so). */
function sizeOf(message, at, type) {
  if (type === VARINT) return { value: 0, end: varint(message, at).end };
  if (type === LENGTH_DELIMITED) return varint(message, at);
  if (type in FIXED_SIZES) return { value: FIXED_SIZES[type], end: at };
  throw damaged(`a field has the wire type ${type}`);
}

/** Multiplies where others shift: JavaScript shifts 32 bits only. */
function varint(message, start) {
  let value = 0;
  for (let i = 0; i < MAX_VARINT_BYTES && start + i < message.length; i++) {
    const byte = message[start + i];
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return { value, end: start + i + 1 };
  }
  throw damaged("a number is cut off or too long");
}

function damaged(why) {
  return new Error(`not a whole ONNX file (${why}); get the model file again`);
}
