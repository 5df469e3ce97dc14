//! Numbers in decimal digits, quicker than with a format.
#![forbid(unsafe_code)]

/// The most digits of a number of 64 bits.
const MAX_DIGITS: usize = 20;

/// Adds a number in decimal digits to `output`.
#[inline]
pub(crate) fn push_decimal(output: &mut Vec<u8>, mut number: usize) {
    let (mut digits, mut at) = ([0; MAX_DIGITS], MAX_DIGITS);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_a_format_gives_them() {
        let powers = (0..MAX_DIGITS).filter_map(|digits| 10_usize.checked_pow(digits as u32));
        for number in powers.flat_map(|power| [power - 1, power, power + 1]).chain([usize::MAX]) {
            let mut output = b"n=".to_vec();
            push_decimal(&mut output, number);
            assert_eq!(output, format!("n={number}").into_bytes());
        }
    }
}
