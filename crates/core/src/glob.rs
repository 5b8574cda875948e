//! Globs, as a shell writes them: `*` is any characters, `?` is one.

/// Whether `name` fits `pattern`.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    // Where the last `*` was, and what it has swallowed so far: linear space, and no worse than a product in time.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&character) if character == '?' || character == name[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star_at, swallowed)) = star else { return false };
                star = Some((star_at, swallowed + 1));
                at = star_at + 1;
                read = swallowed + 1;
            }
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn globs_are_those_of_a_shell() {
        assert!(
            fits("aws.*", "aws.Queue") && fits("*", "a.B") && fits("*.*Sensor", "a.MySensor") && fits("a.?", "a.B")
        );
        assert!(
            fits("*a*b*", "xxaxxbxx") && !fits("*a*b", "xxaxxbxx") && !fits("aws.*", "gcp.Queue") && !fits("a.?", "a.")
        );
    }
}
