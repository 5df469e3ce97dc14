//! Replies as values of Lua, and values of Lua as replies.
#![forbid(unsafe_code)]

use mlua::{Lua, Table, Value};

use crate::error::CommandError;
use crate::resp::{Protocol, Reply};

/// How deep tables may be nested in a reply.
const MAX_DEPTH: usize = 200;

/// The Lua value of a reply that a command has written.
pub(super) fn to_lua(lua: &Lua, reply: &[u8]) -> mlua::Result<Value> {
    parse(lua, &mut &*reply)
}

/// Takes one value from the front of `rest`.
fn parse(lua: &Lua, rest: &mut &[u8]) -> mlua::Result<Value> {
    let line = take_line(rest);
    let (kind, text) = line.split_first().unwrap_or((&b'_', b""));
    let number = || str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    let count = || number().and_then(|count| usize::try_from(count).ok());
    let field = |name: &str, value: Value| {
        let table = lua.create_table()?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    };
    let string = |bytes: &[u8]| lua.create_string(bytes).map(Value::String);
    match (kind, count()) {
        (b'+', _) => field("ok", string(text)?),
        (b'-', _) => field("err", string(text)?),
        (b':', _) => Ok(Value::Number(number().unwrap_or_default() as f64)),
        (b'#', _) => Ok(Value::Boolean(text == b"t")),
        (b',', _) => {
            let number = str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            field("double", Value::Number(number.unwrap_or(f64::NAN)))
        }
        (b'(', _) => field("big_number", string(text)?),
        (b'$', Some(len)) => string(take_bytes(rest, len)),
        (b'=', Some(len)) => {
            let (format, shown) = take_bytes(rest, len).split_at_checked(4).unwrap_or_default();
            let verbatim = lua.create_table()?;
            verbatim.raw_set("format", string(format.strip_suffix(b":").unwrap_or(format))?)?;
            verbatim.raw_set("string", string(shown)?)?;
            field("verbatim_string", Value::Table(verbatim))
        }
        (b'*' | b'>', Some(len)) => {
            let array = lua.create_table()?;
            for index in 1..=len {
                array.raw_set(index, parse(lua, rest)?)?;
            }
            Ok(Value::Table(array))
        }
        (b'%', Some(len)) => {
            let map = lua.create_table()?;
            for _ in 0..len {
                let (key, value) = (parse(lua, rest)?, parse(lua, rest)?);
                map.raw_set(key, value)?;
            }
            field("map", Value::Table(map))
        }
        (b'~', Some(len)) => {
            let set = lua.create_table()?;
            for _ in 0..len {
                set.raw_set(parse(lua, rest)?, true)?;
            }
            field("set", Value::Table(set))
        }
        (b'_', _) => Ok(Value::Nil),
        // The nulls of version 2.
        _ => Ok(Value::Boolean(false)),
    }
}

fn take_line<'r>(rest: &mut &'r [u8]) -> &'r [u8] {
    let end = rest.windows(2).position(|bytes| bytes == b"\r\n").unwrap_or(rest.len());
    let line = &rest[..end];
    *rest = rest.get(end + 2..).unwrap_or_default();
    line
}

fn take_bytes<'r>(rest: &mut &'r [u8], len: usize) -> &'r [u8] {
    let (bytes, after) = rest.split_at_checked(len).unwrap_or_default();
    *rest = after.get(2..).unwrap_or_default();
    bytes
}

/// What a script has returned, on its way into a reply.
pub(super) struct ResultWriter<'w, 'o> {
    pub(super) reply: &'w mut Reply<'o>,
    /// The version that the script has chosen for itself.
    pub(super) protocol: Protocol,
    /// The most bytes of the buffer of replies.
    pub(super) max_bytes: usize,
}

impl ResultWriter<'_, '_> {
    /// Writes a value.
    ///
    /// # Errors
    /// The reply has become too long, for example because a table contains itself.
    pub(super) fn write(&mut self, value: &Value) -> Result<(), CommandError> {
        self.write_nested(value, 0)
    }

    fn write_nested(&mut self, value: &Value, depth: usize) -> Result<(), CommandError> {
        if self.reply.len() > self.max_bytes {
            return Err(CommandError::ReplyTooLong);
        }
        match value {
            Value::String(bytes) => self.reply.bulk(&bytes.as_bytes()),
            Value::Boolean(is_true) => match (self.protocol, is_true) {
                (Protocol::Resp3, _) => self.reply.boolean(*is_true),
                (Protocol::Resp2, true) => self.reply.integer(1),
                (Protocol::Resp2, false) => self.reply.null(),
            },
            Value::Integer(number) => self.reply.integer(*number),
            // As in C, the fraction is dropped.
            Value::Number(number) => self.reply.integer(*number as i64),
            Value::Table(_) if depth >= MAX_DEPTH => {
                self.reply.error("ERR reached lua stack limit");
            }
            Value::Table(table) => {
                return self.write_table(table, depth);
            }
            _ => self.reply.null(),
        }
        Ok(())
    }

    fn write_table(&mut self, table: &Table, depth: usize) -> Result<(), CommandError> {
        if let Value::String(text) = table.raw_get("err")? {
            self.reply.error(text.to_string_lossy());
            return Ok(());
        }
        if let Value::String(text) = table.raw_get("ok")? {
            self.reply.simple(&one_line(&text.to_string_lossy()));
            return Ok(());
        }
        match table.raw_get("double")? {
            Value::Number(number) => {
                self.reply.double(number);
                return Ok(());
            }
            Value::Integer(number) => {
                self.reply.double(number as f64);
                return Ok(());
            }
            _ => {}
        }
        if let Value::String(text) = table.raw_get("big_number")? {
            let text = one_line(&text.to_string_lossy());
            match self.reply.protocol() {
                Protocol::Resp2 => self.reply.bulk(text.as_bytes()),
                Protocol::Resp3 => self.reply.raw(format!("({text}\r\n").as_bytes()),
            }
            return Ok(());
        }
        if let Value::Table(verbatim) = table.raw_get("verbatim_string")?
            && let (Value::String(_), Value::String(text)) =
                (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
        {
            self.reply.verbatim(&text.to_string_lossy());
            return Ok(());
        }
        if let Value::Table(map) = table.raw_get("map")? {
            self.reply.map(map.pairs::<Value, Value>().count());
            return self.write_pairs(&map, depth, true);
        }
        if let Value::Table(set) = table.raw_get("set")? {
            self.reply.set(set.pairs::<Value, Value>().count());
            return self.write_pairs(&set, depth, false);
        }
        let mut len = 0;
        while table.raw_get::<Value>(len + 1)? != Value::Nil {
            len += 1;
        }
        self.reply.array(len);
        for index in 1..=len {
            self.write_nested(&table.raw_get(index)?, depth + 1)?;
        }
        Ok(())
    }

    fn write_pairs(
        &mut self,
        table: &Table,
        depth: usize,
        has_values: bool,
    ) -> Result<(), CommandError> {
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            self.write_nested(&key, depth + 1)?;
            if has_values {
                self.write_nested(&value, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

/// A number in the C format `%.17g`, in which scripts pass numbers to commands.
pub(super) fn with_17_digits(number: f64) -> String {
    if number == number.trunc() && number.abs() < 1e17 {
        return format!("{number:.0}");
    }
    if !number.is_finite() {
        let sign = if number.is_sign_negative() { "-" } else { "" };
        return format!("{sign}{}", if number.is_nan() { "nan" } else { "inf" });
    }
    let scientific = format!("{number:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |digits: &str| digits.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..17).contains(&exponent) {
        let decimals = usize::try_from(16 - exponent).unwrap_or(0);
        return trimmed(&format!("{number:.decimals$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_c_gives_them() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-3.0, "-3"),
            (1.5, "1.5"),
            (0.1, "0.10000000000000001"),
            (3.3, "3.2999999999999998"),
            (1e15, "1000000000000000"),
            (99_999_999_999_999_984.0, "99999999999999984"),
            (1e17, "1e+17"),
            (1.25e100, "1.25e+100"),
            (1e-4, "0.0001"),
            (1.5e-5, "1.5e-05"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(with_17_digits(number), text);
        }
    }
}
