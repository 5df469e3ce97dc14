//! Commands about strings that are numbers.

use crate::client::check;

#[test]
fn integers_are_added_and_taken_away() {
    check(&[
        ("INCR a", ":1"),
        ("INCR a", ":2"),
        ("DECR a", ":1"),
        ("INCRBY a 41", ":42"),
        ("DECRBY a 2", ":40"),
        ("GET a", "\"40\""),
        ("INCRBY a -50", ":-10"),
        ("DECRBY a -8", ":-2"),
        ("SET a 0", "+OK"),
        ("DECR a", ":-1"),
        ("SET a -1", "+OK"),
        ("INCR a", ":0"),
        ("INCRBY a 0", ":0"),
        ("INCR b", ":1"),
        ("DECR c", ":-1"),
        ("DECRBY d 5", ":-5"),
        ("INCRBY e -5", ":-5"),
    ]);
}

#[test]
fn integers_that_would_overflow_stay_as_they_are() {
    check(&[
        ("SET a 9223372036854775807", "+OK"),
        ("INCR a", "-ERR increment or decrement would overflow"),
        ("INCRBY a 1", "-ERR increment or decrement would overflow"),
        ("DECRBY a -1", "-ERR increment or decrement would overflow"),
        ("DECR a", ":9223372036854775806"),
        ("SET a -9223372036854775808", "+OK"),
        ("DECR a", "-ERR increment or decrement would overflow"),
        ("INCRBY a -1", "-ERR increment or decrement would overflow"),
        ("DECRBY a 1", "-ERR increment or decrement would overflow"),
        ("INCRBY a 9223372036854775807", ":-1"),
        ("SET a 0", "+OK"),
        ("DECRBY a -9223372036854775808", "-ERR decrement would overflow"),
        ("DECRBY a 9223372036854775807", ":-9223372036854775807"),
        ("DECRBY a 2", "-ERR increment or decrement would overflow"),
        ("GET a", "\"-9223372036854775807\""),
    ]);
}

#[test]
fn what_is_no_integer_cannot_be_counted() {
    check(&[
        ("SET a \" 11\"", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a \"11 \"", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a 011", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a +1", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a -0", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a 1.0", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a \"\"", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a 17179869184x", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a 9223372036854775808", "+OK"),
        ("INCR a", "-ERR value is not an integer or out of range"),
        ("SET a 1", "+OK"),
        ("INCRBY a x", "-ERR value is not an integer or out of range"),
        ("INCRBY a \"\"", "-ERR value is not an integer or out of range"),
        ("INCRBY a 1.5", "-ERR value is not an integer or out of range"),
        ("DECRBY a x", "-ERR value is not an integer or out of range"),
        ("INCRBY a 9223372036854775808", "-ERR value is not an integer or out of range"),
        ("INCRBY a", "-ERR wrong number of arguments for 'incrby' command"),
        ("INCR", "-ERR wrong number of arguments for 'incr' command"),
        ("INCR a b", "-ERR wrong number of arguments for 'incr' command"),
        ("DECR", "-ERR wrong number of arguments for 'decr' command"),
        ("DECRBY a", "-ERR wrong number of arguments for 'decrby' command"),
        ("HSET h f v", ":1"),
        ("INCR h", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("INCRBY h x", "-ERR value is not an integer or out of range"),
        ("INCRBYFLOAT h 1", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("GET a", "\"1\""),
    ]);
}

#[test]
fn fractions_are_added_and_written_as_redis_does() {
    check(&[
        ("SET a 1", "+OK"),
        ("INCRBYFLOAT a 0.25", "\"1.25\""),
        ("INCRBYFLOAT a 1.5", "\"2.75\""),
        ("INCRBYFLOAT missing 1", "\"1\""),
        ("INCRBYFLOAT missing 2.0e2", "\"201\""),
        ("SET a 10.50", "+OK"),
        ("INCRBYFLOAT a 0.1", "\"10.6\""),
        ("SET a 5.0e3", "+OK"),
        ("INCRBYFLOAT a 2.0e2", "\"5200\""),
        ("SET a 3.0e3", "+OK"),
        ("INCRBYFLOAT a 200", "\"3200\""),
        ("SET a 3.0", "+OK"),
        ("INCRBYFLOAT a 1.000000000000000005", "\"4.00000000000000001\""),
        ("SET a 1", "+OK"),
        ("INCRBYFLOAT a -1.1", "\"-0.1\""),
        ("SET a 3", "+OK"),
        ("INCRBYFLOAT a -3", "\"0\""),
        ("SET a 17179869184", "+OK"),
        ("INCRBYFLOAT a 1.5", "\"17179869185.5\""),
        ("SET a 0.1", "+OK"),
        ("INCRBYFLOAT a 0.2", "\"0.3\""),
        ("INCRBYFLOAT a 1e-17", "\"0.30000000000000001\""),
        ("INCRBYFLOAT a 4e-18", "\"0.30000000000000001\""),
        ("INCRBYFLOAT a 5e-18", "\"0.30000000000000001\""),
        ("SET a -1e-20", "+OK"),
        ("INCRBYFLOAT a 0", "\"0\""),
        ("SET a 1e10", "+OK"),
        ("INCRBYFLOAT a 0.1", "\"10000000000.09999999962747097\""),
        ("SET a 9223372036854775807", "+OK"),
        ("INCRBYFLOAT a 1", "\"9223372036854775808\""),
        ("SET a 123456789012345678901234567890", "+OK"),
        ("INCRBYFLOAT a 1", "\"123456789012345678899921813504\""),
        ("SET a 1e100", "+OK"),
        (
            "INCRBYFLOAT a 1",
            "\"9999999999999999999669353532207342619498699019828496079271391541752018669482644324418977840117055488\"",
        ),
        ("SET a 0x1F", "+OK"),
        ("INCRBYFLOAT a 0x.8", "\"31.5\""),
        ("SET a 1e-4950", "+OK"),
        ("INCRBYFLOAT a 1e-4950", "\"0\""),
        ("INCR a", ":1"),
        ("SET a .5", "+OK"),
        ("INCRBYFLOAT a 5.", "\"5.5\""),
        ("SET a 1", "+OK"),
        ("INCRBYFLOAT a -0", "\"1\""),
    ]);
}

#[test]
fn what_is_no_fraction_cannot_be_added() {
    check(&[
        ("SET a \"1 \"", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a \" 1\"", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a abc", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a \"\"", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a 1\\0", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a \"1\\x00002\"", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR value is not a valid float"),
        ("SET a 1", "+OK"),
        ("INCRBYFLOAT a x", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a \"\"", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a nan", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a +inf", "-ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT a -Infinity", "-ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT a 1e5000", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a 1e-5000", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a 1,5", "-ERR value is not a valid float"),
        ("INCRBYFLOAT a", "-ERR wrong number of arguments for 'incrbyfloat' command"),
        ("INCRBYFLOAT", "-ERR wrong number of arguments for 'incrbyfloat' command"),
        ("SET a inf", "+OK"),
        ("INCRBYFLOAT a 1", "-ERR increment would produce NaN or Infinity"),
        ("INCRBYFLOAT a x", "-ERR value is not a valid float"),
        ("GET a", "\"inf\""),
    ]);
}
