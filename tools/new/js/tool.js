// Called with what the input schema of tool.toml accepts; gives what can be JSON. What it throws, the model reads.
function invoke(input) {
  const words = input.text.split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) {
    throw new Error("there are no words in the text");
  }
  return { words: words.length };
}
