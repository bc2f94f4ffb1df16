//! Times that a question tells in words: "yesterday", "three weeks ago", "in May", "on 8 May 2023".

use std::ops::Range;

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, date},
    tz::TimeZone,
};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const NUMBERS: [&str; 12] = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
];

/// The time that `text` tells, counted from `now`, in UTC; nothing where it tells none. The first one that
/// is understood counts.
pub(super) fn told(text: &str, now: Timestamp) -> Option<Range<Timestamp>> {
    let today = now.to_zoned(TimeZone::UTC).date();
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    (0..words.len()).find_map(|at| {
        let (earlier, later) = words.split_at_checked(at)?;
        let (first, last) = relative(later, today)
            .or_else(|| absolute(earlier, later, today))
            .or_else(|| year_of(earlier, later))
            .filter(|(first, _)| first.year() > 0)?;
        let start = |day: Date| Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp());
        Some(start(first)?..start(last.tomorrow().ok()?)?)
    })
}

/// The first and the last day of an expression that counts from today.
fn relative(words: &[&str], today: Date) -> Option<(Date, Date)> {
    match words {
        ["today" | "tonight", ..] => Some((today, today)),
        ["yesterday", ..] => today.yesterday().ok().map(|day| (day, day)),
        ["last" | "past", unit, ..] => last(unit, today),
        ["this", unit, ..] => {
            let (first, _) = period(unit, today)?;
            Some((first, today))
        }
        ["a" | "an", unit, "ago", ..] => ago(1, unit, today),
        [count, unit, "ago", ..] => ago(number(count)?, unit, today),
        _ => None,
    }
}

fn number(word: &str) -> Option<i32> {
    let spelt = NUMBERS.iter().zip(1..).find(|(name, _)| **name == word);
    let written = || {
        word.parse()
            .ok()
            .filter(|count| (1..10_000).contains(count))
    };
    spelt.map(|(_, count)| count).or_else(written)
}

/// The week, month or year that `day` is in.
fn period(unit: &str, day: Date) -> Option<(Date, Date)> {
    match unit {
        "week" => {
            let first = day.checked_sub(i64::from(day.weekday().to_monday_zero_offset()).days());
            let first = first.ok()?;
            Some((first, first.checked_add(6.days()).ok()?))
        }
        "month" => Some((day.first_of_month(), day.last_of_month())),
        "year" => Some((day.first_of_year(), day.last_of_year())),
        _ => None,
    }
}

/// "last week", "last month", "last year", "last May".
fn last(unit: &str, today: Date) -> Option<(Date, Date)> {
    if let Some(month) = month(unit) {
        let this = date(today.year(), month, 1);
        let year = if this < today.first_of_month() {
            today.year()
        } else {
            today.year() - 1
        };
        let first = Date::new(year, month, 1).ok()?;
        return Some((first, first.last_of_month()));
    }
    let (first, _) = period(unit, today)?;
    period(unit, first.yesterday().ok()?)
}

/// So many days, weeks, months or years ago, as exact as people mean it.
fn ago(count: i32, unit: &str, today: Date) -> Option<(Date, Date)> {
    let back = |span: jiff::Span| today.checked_sub(span).ok();
    let around = |day: Date, days: i64| {
        Some((
            day.checked_sub(days.days()).ok()?,
            day.checked_add(days.days()).ok()?,
        ))
    };
    match unit.trim_end_matches('s') {
        "day" => around(back(count.days())?, 0),
        "week" => around(back(count.weeks())?, 3),
        "month" => period("month", back(count.months())?),
        "year" => period("year", back(count.years())?),
        _ => None,
    }
}

/// "8 May 2023", "May 8, 2023", "in May", "May 2023". The name alone may be a verb: "may" counts only after
/// "in", "of", "since", "during" or beside a number.
fn absolute(earlier: &[&str], words: &[&str], today: Date) -> Option<(Date, Date)> {
    let (name, rest) = words.split_first()?;
    let month = month(name)?;
    let day_of = |word: &str| {
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        digits
            .parse::<i8>()
            .ok()
            .filter(|day| (1..=31).contains(day))
    };
    let before = earlier.last().and_then(|word| day_of(word));
    let after = rest.first().and_then(|word| day_of(word));
    let years = if before.is_none() && after.is_some() {
        rest.get(1)
    } else {
        rest.first()
    };
    let year = years.and_then(|word| year(word));
    let introduced = matches!(earlier.last(), Some(&("in" | "of" | "since" | "during")));
    if !introduced && before.or(after).is_none() && year.is_none() {
        return None;
    }
    let first = Date::new(year.unwrap_or(today.year()), month, 1).ok()?;
    // Without a year, it is the last one that was.
    let first = if year.is_none() && first > today {
        Date::new(first.year() - 1, month, 1).ok()?
    } else {
        first
    };
    match before.or(after) {
        Some(day) => Date::new(first.year(), month, day)
            .ok()
            .map(|day| (day, day)),
        None => Some((first, first.last_of_month())),
    }
}

fn month(word: &str) -> Option<i8> {
    let short = |name: &&str| word.len() == 3 && name.starts_with(word);
    let found = MONTHS
        .iter()
        .zip(1..)
        .find(|(name, _)| **name == word || short(name));
    found.map(|(_, number)| number)
}

fn year(word: &str) -> Option<i16> {
    word.parse().ok().filter(|year| (1900..2200).contains(year))
}

/// "in 2023".
fn year_of(earlier: &[&str], words: &[&str]) -> Option<(Date, Date)> {
    let introduced = matches!(earlier.last(), Some(&("in" | "since" | "during" | "of")));
    let first = Date::new(year(words.first()?)?, 1, 1).ok()?;
    introduced.then(|| (first, first.last_of_year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(text: &str) -> Option<(String, String)> {
        let now = "2023-06-14T15:00:00Z".parse().unwrap();
        let day = |time: Timestamp| time.strftime("%F").to_string();
        told(text, now).map(|time| (day(time.start), day(time.end)))
    }

    fn is(text: &str, first: &str, after: &str) {
        assert_eq!(
            days(text),
            Some((first.to_owned(), after.to_owned())),
            "{text}"
        );
    }

    #[test]
    fn what_people_say_about_time_is_understood() {
        is("What did we decide yesterday?", "2023-06-13", "2023-06-14");
        is("who called last week", "2023-06-05", "2023-06-12");
        is("the plan of last month", "2023-05-01", "2023-06-01");
        is("three weeks ago", "2023-05-21", "2023-05-28");
        is("2 days ago I broke it", "2023-06-12", "2023-06-13");
        is("What happened in May?", "2023-05-01", "2023-06-01");
        is("in december", "2022-12-01", "2023-01-01");
        is("last May", "2023-05-01", "2023-06-01");
        is("on 8 May 2022", "2022-05-08", "2022-05-09");
        is("on May 8th, 2022", "2022-05-08", "2022-05-09");
        is("in 2021", "2021-01-01", "2022-01-01");
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for text in [
            "may I go",
            "",
            "march on",
            "error 2023",
            "9999 years ago",
            "last",
        ] {
            assert_eq!(days(text), None, "{text}");
        }
    }
}
