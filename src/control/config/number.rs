//! Numbers as Python reads and prints them.

use super::values::{Value, python_repr};

pub(super) fn parse_int(text: &str, min: i64, max: i64) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Unset);
    }
    let number = python_int(trimmed)
        .ok_or_else(|| format!("invalid literal for int() with base 10: {}", python_repr(text)))?;
    if number < min {
        return Err(below(min as f64));
    }
    if number > max {
        return Err(above(max as f64));
    }
    Ok(Value::Int(number))
}

/// What Python's `float` takes, but for infinity and nan, which no option can mean.
pub(super) fn parse_float(text: &str, min: f64, max: f64) -> Result<Value, String> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Ok(Value::Unset);
    }
    let number = without_underscores(trimmed)
        .and_then(|digits| digits.parse::<f64>().ok())
        .filter(|number| number.is_finite());
    let number =
        number.ok_or_else(|| format!("could not convert string to float: {}", python_repr(trimmed)))?;
    if number < min {
        return Err(below(min));
    }
    if number > max {
        return Err(above(max));
    }
    Ok(Value::Float(number))
}

/// What Python's `int` takes: a sign, digits, and single underscores between digits. Numbers beyond 64
/// bits saturate.
fn python_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let mut number = 0i64;
    for group in digits.split('_') {
        if group.is_empty() {
            return None;
        }
        for digit in group.chars() {
            let digit = i64::from(digit.to_digit(10)?);
            number = number.saturating_mul(10);
            number = if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) };
        }
    }
    Some(number)
}

/// `text` less its single underscores between digits; None if there are others.
fn without_underscores(text: &str) -> Option<String> {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let fits =
        |at: usize| is_digit(at.checked_sub(1).and_then(|at| bytes.get(at))) && is_digit(bytes.get(at + 1));
    text.match_indices('_').all(|(at, _)| fits(at)).then(|| text.replace('_', ""))
}

fn below(min: f64) -> String {
    format!("Should be greater than or equal to {}", general(min))
}

fn above(max: f64) -> String {
    format!("Should be less than or equal to {}", general(max))
}

/// `%g`, by which oslo.config prints bounds: six digits that count, and an exponent where the point would
/// stand far away from them.
pub(super) fn general(number: f64) -> String {
    let scientific = format!("{number:.5e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::super::values::{ANY_INT, Kind};
    use super::*;

    const FLOAT: Kind = Kind::Float { min: 0.0, max: 20.5 };

    #[test]
    fn integers_are_read_as_python_does() {
        for (text, expected) in [("60", 60), ("+7", 7), ("-3", -3), ("007", 7), ("1_000", 1000), (" 5 ", 5)] {
            assert_eq!(ANY_INT.parse(text), Ok(Value::Int(expected)), "{text}");
        }
        assert_eq!(ANY_INT.parse(" "), Ok(Value::Unset));
        assert_eq!(ANY_INT.parse("99999999999999999999"), Ok(Value::Int(i64::MAX)));
        assert_eq!(ANY_INT.parse("-99999999999999999999"), Ok(Value::Int(i64::MIN)));
        for text in ["0x10", "1.5", "1__0", "_1", "1_", "-", "+-1"] {
            let error = format!("invalid literal for int() with base 10: '{text}'");
            assert_eq!(ANY_INT.parse(text), Err(error));
        }
        assert_eq!(Kind::Port.parse("65536"), Err("Should be less than or equal to 65535".into()));
        assert_eq!(Kind::Port.parse("-1"), Err("Should be greater than or equal to 0".into()));
    }

    #[test]
    fn floats_are_read_as_python_does() {
        for (text, expected) in
            [("1.0", 1.0), ("2", 2.0), (" .5 ", 0.5), ("1e1", 10.0), ("+3.", 3.0), ("1_0.0_5", 10.05)]
        {
            assert_eq!(FLOAT.parse(text), Ok(Value::Float(expected)), "{text}");
        }
        assert_eq!(FLOAT.parse(""), Ok(Value::Unset));
        assert_eq!(FLOAT.parse("soon"), Err("could not convert string to float: 'soon'".into()));
        assert_eq!(FLOAT.parse("-0.1"), Err("Should be greater than or equal to 0".into()));
        assert_eq!(FLOAT.parse("21"), Err("Should be less than or equal to 20.5".into()));
        for text in ["_1", "1_", "1__0", "1_.5", "1._5"] {
            assert_eq!(FLOAT.parse(text), Err(format!("could not convert string to float: '{text}'")));
        }
        assert!(FLOAT.parse("inf").is_err() && FLOAT.parse("nan").is_err());
        assert_eq!(Value::Float(1.0).to_string(), "1.0");
    }

    #[test]
    fn bounds_are_printed_with_six_digits() {
        for (number, expected) in [
            (0.0, "0"),
            (4.5, "4.5"),
            (65_535.0, "65535"),
            (999_999.0, "999999"),
            (1_048_576.0, "1.04858e+06"),
            (86_400_000.0, "8.64e+07"),
            (0.000_012, "1.2e-05"),
            (-3.0, "-3"),
        ] {
            assert_eq!(general(number), expected);
        }
    }
}
