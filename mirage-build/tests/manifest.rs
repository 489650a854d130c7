//! The manifest: what was written is read, and nothing that may lie in a file makes the reader panic.

use mirage_build::KeyKind;
use mirage_build::launch::Launch;
use mirage_build::manifest::{DecodeError, Manifest, ManifestBlock, ManifestKey, ManifestNetwork, ReadError, read_elf};
use proptest::prelude::*;

fn kind() -> impl Strategy<Value = Option<KeyKind>> {
    prop_oneof![
        Just(None),
        Just(Some(KeyKind::Flag)),
        (any::<i64>(), any::<u64>()).prop_map(|(min, max)| Some(KeyKind::Integer { min, max })),
        Just(Some(KeyKind::Text)),
        Just(Some(KeyKind::Port)),
        Just(Some(KeyKind::Ipv4)),
        Just(Some(KeyKind::Cidr)),
        Just(Some(KeyKind::CidrOrDhcp)),
        Just(Some(KeyKind::Addresses)),
        Just(Some(KeyKind::Domains)),
        Just(Some(KeyKind::Routes)),
        Just(Some(KeyKind::Ipv6Routes)),
        Just(Some(KeyKind::Ipv6)),
        Just(Some(KeyKind::Cidr6OrAuto)),
        Just(Some(KeyKind::Duration)),
        Just(Some(KeyKind::LogLevel)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..12).prop_map(String::from_iter)
}

fn key() -> impl Strategy<Value = ManifestKey> {
    (text(), kind(), prop::option::of(text()), any::<bool>(), text(), any::<bool>()).prop_map(
        |(name, kind, default, required, doc, library)| ManifestKey { name, kind, default, required, doc, library },
    )
}

fn manifest() -> impl Strategy<Value = Manifest> {
    let network = (text(), text()).prop_map(|(name, key_prefix)| ManifestNetwork { name, key_prefix });
    let networks = prop::collection::vec(network, 0..4);
    let block = (text(), text()).prop_map(|(name, key_prefix)| ManifestBlock { name, key_prefix });
    let blocks = prop::collection::vec(block, 0..4);
    let consoles = prop::collection::vec(text(), 0..3);
    let memory = (any::<u32>(), any::<Option<u32>>());
    (text(), text(), memory, networks, blocks, consoles, prop::collection::vec(key(), 0..6)).prop_map(
        |(name, version, (memory_mib, memory_max_mib), networks, blocks, consoles, keys)| Manifest {
            name,
            version,
            memory_mib,
            memory_max_mib,
            networks,
            blocks,
            consoles,
            keys,
        },
    )
}

/// An ELF file with one segment of notes: a foreign one, then the manifest's.
fn elf(descriptor: &[u8]) -> Vec<u8> {
    let mut notes = Vec::new();
    for (owner, kind, descriptor) in [(&b"Xen\0"[..], 18_u32, &[0; 5][..]), (&b"Mirage\0"[..], 1, descriptor)] {
        notes.extend((owner.len() as u32).to_le_bytes());
        notes.extend((descriptor.len() as u32).to_le_bytes());
        notes.extend(kind.to_le_bytes());
        for part in [owner, descriptor] {
            notes.extend(part);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
    }
    let mut file = vec![0; 64 + 2 * 56];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    file[32] = 64;
    file[54] = 56;
    file[56] = 2;
    // The first program header is PT_LOAD, the second PT_NOTE.
    file[64] = 1;
    let header = 64 + 56;
    let offset = file.len() as u64;
    file[header] = 4;
    file[header + 8..header + 16].copy_from_slice(&offset.to_le_bytes());
    file[header + 32..header + 40].copy_from_slice(&(notes.len() as u64).to_le_bytes());
    file.extend(notes);
    file
}

proptest! {
    #[test]
    fn what_was_written_is_read(manifest in manifest()) {
        prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest.clone()));
        prop_assert_eq!(read_elf(&elf(&manifest.encode())), Ok(manifest));
    }

    #[test]
    fn a_manifest_cut_off_anywhere_is_an_error(manifest in manifest(), cut in any::<prop::sample::Index>()) {
        let bytes = manifest.encode();
        let cut = cut.index(bytes.len());
        if let Ok(read) = Manifest::decode(&bytes[..cut]) {
            // Only between two records, and then what follows is missing.
            let records = |manifest: &Manifest| {
                let Manifest { memory_max_mib, networks, blocks, consoles, keys, .. } = manifest;
                usize::from(memory_max_mib.is_some()) + networks.len() + blocks.len() + consoles.len() + keys.len()
            };
            prop_assert!(records(&read) < records(&manifest));
        }
    }

    #[test]
    fn anything_can_be_decoded_or_not(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::decode(&bytes);
        let _ = Manifest::decode(&[&[1], &bytes[..]].concat());
        let _ = read_elf(&bytes);
    }

    #[test]
    fn a_damaged_file_is_read_or_not(
        manifest in manifest(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = elf(&manifest.encode());
        for (place, byte) in changes {
            let place = place.index(file.len());
            file[place] = byte;
        }
        let _ = read_elf(&file);
    }

    #[test]
    fn launch_files_have_one_assignment_a_line(manifest in manifest(), kernel in text()) {
        let launch = Launch::new(&manifest, &kernel);
        for line in launch.xl().lines() {
            prop_assert!(line.starts_with('#') || line.contains(" = "), "{line:?}");
        }
    }
}

fn small() -> Manifest {
    Manifest {
        name: "a".into(),
        version: "1".into(),
        memory_mib: 4,
        memory_max_mib: None,
        networks: Vec::new(),
        blocks: Vec::new(),
        consoles: Vec::new(),
        keys: Vec::new(),
    }
}

#[test]
fn a_later_version_is_named() {
    let mut bytes = small().encode();
    bytes[0] = 2;
    let error = Manifest::decode(&bytes);
    assert_eq!(error, Err(DecodeError::Version(2)));
    assert_eq!(
        read_elf(&elf(&bytes)).map_err(|error| error.to_string()),
        Err("the image's manifest has version 2 and this tool reads version 1: build the image and the tool with the \
             same release of Mirage"
            .into())
    );
}

#[test]
fn what_a_later_release_adds_is_skipped() {
    let mut bytes = small().encode();
    bytes.extend([200, 3, 0, 0, 0, 1, 2, 3]);
    // A key with a kind of code 99, and a field behind its default.
    let fields: [&[u8]; 6] = [b"k", &[99, 7], &[0], b"doc", b"value", b"later"];
    let key: Vec<u8> = fields.iter().flat_map(|field| [&[field.len() as u8, 0, 0, 0], *field].concat()).collect();
    bytes.extend([5, key.len() as u8, 0, 0, 0]);
    bytes.extend(key);
    let read = Manifest::decode(&bytes).expect("it is skipped");
    assert_eq!((read.name.as_str(), read.keys.len()), ("a", 1));
    assert_eq!((read.keys[0].kind, read.keys[0].default.as_deref()), (None, Some("value")));
}

#[test]
fn records_that_must_be_there() {
    assert_eq!(Manifest::decode(&[1]), Err(DecodeError::Missing("name")));
    assert_eq!(Manifest::decode(&[]), Err(DecodeError::Truncated));
    assert_eq!(Manifest::decode(&[1, 1, 1, 0, 0, 0, 0xff]), Err(DecodeError::NotUtf8));
}

#[test]
fn files_that_are_no_images() {
    assert_eq!(read_elf(b""), Err(ReadError::NotAnImage));
    assert_eq!(read_elf(b"#!/bin/sh\n"), Err(ReadError::NotAnImage));
    assert_eq!(read_elf(&elf(&[])[..100]), Err(ReadError::Truncated));
    let mut foreign = elf(&small().encode());
    let owner = foreign.windows(6).position(|window| window == b"Mirage").expect("the note is there");
    foreign[owner] = b'm';
    assert_eq!(read_elf(&foreign), Err(ReadError::NoManifest));
    // A test is a Unix program.
    let own = std::fs::read(std::env::current_exe().expect("a test has a path")).expect("and can read itself");
    assert_eq!(read_elf(&own), Err(ReadError::NoManifest));
}
