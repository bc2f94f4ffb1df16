const SYMBOLS = [
  ["M", 1000], ["CM", 900], ["D", 500], ["CD", 400], ["C", 100], ["XC", 90], ["L", 50], ["XL", 40],
  ["X", 10], ["IX", 9], ["V", 5], ["IV", 4], ["I", 1],
];

function numeralOf(number) {
  let numeral = "";
  for (const [symbol, value] of SYMBOLS) {
    while (number >= value) {
      numeral += symbol;
      number -= value;
    }
  }
  return numeral;
}

function numberOf(numeral) {
  let [number, rest] = [0, numeral];
  for (const [symbol, value] of SYMBOLS) {
    while (rest.startsWith(symbol)) {
      number += value;
      rest = rest.slice(symbol.length);
    }
  }
  if (number === 0 || rest !== "") {
    throw new Error(`${JSON.stringify(numeral)} is no Roman numeral; it is made of M, D, C, L, X, V and I, the larger first`);
  }
  // What it adds up to is written in one way only.
  const written = numeralOf(number);
  if (number > 3999 || written !== numeral) {
    throw new Error(`${numeral} is no Roman numeral; ${number > 3999 ? "they go to 3999" : `${number} is ${written}`}`);
  }
  return number;
}

function invoke({ value }) {
  const text = String(value).trim();
  if (/^-?[0-9]+$/.test(text)) {
    const number = Number(text);
    if (number < 1 || number > 3999) {
      throw new Error(`${text} has no Roman numeral; they go from 1 to 3999`);
    }
    return { number, numeral: numeralOf(number) };
  }
  const numeral = text.toUpperCase();
  return { number: numberOf(numeral), numeral };
}
