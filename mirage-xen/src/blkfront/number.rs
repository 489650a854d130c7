//! Names of disks and their device numbers (Xen's `xen-vbd-interface(7)`).

/// The number of a disk by its name, as `vdev=` has it in a domain's configuration: `xvda` to `xvdzz` with or without a
/// partition, or the number itself. `None` for anything else.
///
/// ```
/// use mirage_xen::blkfront::device_number;
///
/// assert_eq!(device_number("xvda"), Some(51712));
/// assert_eq!(device_number("xvdb1"), Some(51729));
/// assert_eq!(device_number("xvdq"), Some(268439552));
/// assert_eq!(device_number("51712"), Some(51712));
/// assert_eq!(device_number("vda"), None);
/// ```
pub fn device_number(name: &str) -> Option<u32> {
    let Some(rest) = name.strip_prefix("xvd") else {
        return name.parse().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()));
    };
    let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
    let (letters, partition) = rest.split_at(letters);
    let disk = match *letters.as_bytes() {
        [one] => u32::from(one - b'a'),
        [first, second] => 26 + u32::from(first - b'a') * 26 + u32::from(second - b'a'),
        _ => return None,
    };
    let partition = match partition {
        "" => 0,
        text if text.starts_with(['+', '0']) => return None,
        text => text.parse::<u32>().ok()?,
    };
    match (disk, partition) {
        (0..16, 0..16) => Some(202 << 8 | disk << 4 | partition),
        (_, 0..256) => Some(1 << 28 | disk << 8 | partition),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbers() {
        assert_eq!(device_number("xvdp15"), Some(51967));
        assert_eq!(device_number("xvda16"), Some(1 << 28 | 16));
        assert_eq!(device_number("xvdaa"), Some(1 << 28 | 26 << 8));
        for bad in ["", "xvd", "xvdA", "xvd1", "xvdabc", "xvda256", "xvda+1", "xvda01", "xvda1x", "+5", "hda"] {
            assert_eq!(device_number(bad), None, "{bad}");
        }
    }
}
