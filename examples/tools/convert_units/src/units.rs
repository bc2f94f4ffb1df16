//! The units: a value in one is `value * factor + offset` in the first of its quantity.

use std::fmt::Write as _;

struct Unit {
    symbol: &'static str,
    factor: f64,
    offset: f64,
}

struct Quantity {
    name: &'static str,
    units: &'static [Unit],
}

const fn unit(symbol: &'static str, factor: f64) -> Unit {
    Unit {
        symbol,
        factor,
        offset: 0.0,
    }
}

/// A unit of temperature: so many kelvins each, and where its zero is.
const fn scale(symbol: &'static str, factor: f64, offset: f64) -> Unit {
    Unit {
        symbol,
        factor,
        offset,
    }
}

const TEMPERATURE: &str = "temperature";

/// Factors as the International System, the agreement on the yard and pound of 1959, and IEC 80000-13 have them.
const QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "length",
        units: &[
            unit("m", 1.0),
            unit("km", 1000.0),
            unit("cm", 0.01),
            unit("mm", 0.001),
            unit("in", 0.0254),
            unit("ft", 0.3048),
            unit("yd", 0.9144),
            unit("mi", 1609.344),
            unit("nmi", 1852.0),
        ],
    },
    Quantity {
        name: "area",
        units: &[
            unit("m2", 1.0),
            unit("km2", 1e6),
            unit("ha", 1e4),
            unit("ft2", 0.092_903_04),
            unit("acre", 4_046.856_422_4),
            unit("mi2", 2_589_988.110_336),
        ],
    },
    Quantity {
        name: "volume",
        units: &[
            unit("l", 1.0),
            unit("ml", 0.001),
            unit("m3", 1000.0),
            unit("cup", 0.236_588_236_5),
            unit("pt", 0.473_176_473),
            unit("gal", 3.785_411_784),
        ],
    },
    Quantity {
        name: "mass",
        units: &[
            unit("kg", 1.0),
            unit("g", 0.001),
            unit("mg", 1e-6),
            unit("t", 1000.0),
            unit("oz", 0.028_349_523_125),
            unit("lb", 0.453_592_37),
            unit("st", 6.350_293_18),
        ],
    },
    Quantity {
        name: "time",
        units: &[
            unit("s", 1.0),
            unit("ms", 0.001),
            unit("min", 60.0),
            unit("h", 3600.0),
            unit("d", 86_400.0),
            unit("wk", 604_800.0),
        ],
    },
    Quantity {
        name: "speed",
        units: &[
            unit("m/s", 1.0),
            unit("km/h", 1.0 / 3.6),
            unit("mph", 0.44704),
            unit("kn", 1852.0 / 3600.0),
        ],
    },
    Quantity {
        name: TEMPERATURE,
        units: &[
            scale("K", 1.0, 0.0),
            scale("C", 1.0, 273.15),
            scale("F", 5.0 / 9.0, 459.67 * 5.0 / 9.0),
        ],
    },
    Quantity {
        name: "energy",
        units: &[
            unit("J", 1.0),
            unit("kJ", 1000.0),
            unit("cal", 4.184),
            unit("kcal", 4184.0),
            unit("Wh", 3600.0),
            unit("kWh", 3.6e6),
        ],
    },
    Quantity {
        name: "pressure",
        units: &[
            unit("Pa", 1.0),
            unit("hPa", 100.0),
            unit("kPa", 1000.0),
            unit("bar", 1e5),
            unit("atm", 101_325.0),
            unit("psi", 6_894.757_293_168),
        ],
    },
    Quantity {
        name: "data",
        units: &[
            unit("B", 1.0),
            unit("bit", 0.125),
            unit("kB", 1e3),
            unit("MB", 1e6),
            unit("GB", 1e9),
            unit("TB", 1e12),
            unit("KiB", 1024.0),
            unit("MiB", 1_048_576.0),
            unit("GiB", 1_073_741_824.0),
            unit("TiB", 1_099_511_627_776.0),
        ],
    },
];

/// All units, for the model.
pub fn list() -> String {
    let mut text = String::new();
    for quantity in QUANTITIES {
        let symbols: Vec<_> = quantity.units.iter().map(|unit| unit.symbol).collect();
        let between = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{between}{}: {}", quantity.name, symbols.join(" "));
    }
    text
}

fn find(symbol: &str) -> Result<(&'static Quantity, &'static Unit), String> {
    let all = QUANTITIES
        .iter()
        .flat_map(|quantity| quantity.units.iter().map(move |unit| (quantity, unit)));
    let mut known = all.filter(|(_, unit)| unit.symbol == symbol);
    known
        .next()
        .ok_or_else(|| format!("there is no unit {symbol}; there are {}", list()))
}

/// A value in another unit, to twelve digits: what is beyond is only what doubles cannot hold.
pub fn convert(value: f64, from: &str, to: &str) -> Result<f64, String> {
    let (quantity, source) = find(from)?;
    let (other, target) = find(to)?;
    if quantity.name != other.name {
        return Err(format!(
            "{from} is a unit of {} and {to} one of {}",
            quantity.name, other.name
        ));
    }
    let base = value * source.factor + source.offset;
    // Half a millionth is what the sums above may be wrong by.
    if quantity.name == TEMPERATURE && base < -5e-7 {
        return Err(format!("{value} {from} is below absolute zero"));
    }
    let converted = (base - target.offset) / target.factor;
    if !converted.is_finite() {
        return Err(format!("{value} {from} is too much to be told in {to}"));
    }
    format!("{converted:.11e}")
        .parse()
        .map_err(|_| format!("{value} {from} cannot be told in {to}"))
}
