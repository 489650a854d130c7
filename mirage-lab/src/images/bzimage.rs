//! The kernel inside of a Linux boot file: Xen loads it twice as fast when it need not unpack it (Linux' `Documentation/arch/x86/boot.rst`).

use super::unpack::Packing;

/// The packed kernel in a boot file, and how it is packed.
pub(crate) fn payload(image: &[u8]) -> Result<(Packing, &[u8]), &'static str> {
    let cut = "the boot file is cut short";
    if image.get(0x202..0x206) != Some(b"HdrS") {
        return Err("not a Linux boot file");
    }
    let sectors = match image.get(0x1f1) {
        // So old boot files say "four".
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let field = |at: usize| {
        image.get(at..).and_then(|rest| rest.first_chunk::<4>()).map(|bytes| u32::from_le_bytes(*bytes) as usize)
    };
    let (offset, length) = field(0x248).zip(field(0x24c)).ok_or(cut)?;
    let start = (sectors + 1) * 512 + offset;
    let packed = image.get(start..).and_then(|rest| rest.get(..length)).ok_or(cut)?;
    let packing = Packing::of(packed).ok_or("the kernel is packed in a way the lab does not know")?;
    Ok((packing, packed))
}

#[cfg(test)]
mod tests {
    use super::payload;
    use crate::images::unpack::Packing;

    fn boot_file(sectors: u8, packed: &[u8]) -> Vec<u8> {
        let start = (usize::from(sectors.max(if sectors == 0 { 4 } else { 0 })) + 1) * 512 + 0x40;
        let mut image = vec![0; start];
        image[0x1f1] = sectors;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&0x40_u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&(packed.len() as u32).to_le_bytes());
        image.extend_from_slice(packed);
        image
    }

    #[test]
    fn the_payload_is_found() {
        let packed = b"\xfd7zXZ\0 and more";
        for sectors in [0, 3, 39] {
            assert_eq!(payload(&boot_file(sectors, packed)), Ok((Packing::Xz, &packed[..])));
        }
        assert_eq!(payload(&boot_file(1, b"\x28\xb5\x2f\xfd ")).map(|found| found.0), Ok(Packing::Zstd));
    }

    #[test]
    fn what_is_no_boot_file_is_refused() {
        assert!(payload(b"\x7fELF").is_err());
        let mut image = boot_file(3, b"\x1f\x8b\x08");
        image.pop();
        assert_eq!(payload(&image), Err("the boot file is cut short"));
        assert!(payload(&boot_file(3, b"LZO?")).is_err());
    }
}
