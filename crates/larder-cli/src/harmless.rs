//! Text from outside, such as the name of a file, without what a terminal would obey or a picture could not hold.

/// Puts a dot in the place of each control character.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '·' } else { character }).collect()
}

/// The same, for text of several lines.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_are_replaced() {
        assert_eq!(harmless("a\u{1b}[31m\n\r\u{9b}ü "), "a·[31m···ü ");
        assert_eq!(harmless_lines("a\n\u{1b}b\r\n"), "a\n·b·\n");
    }
}
