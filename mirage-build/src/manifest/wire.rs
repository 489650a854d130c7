//! The manifest's encoding.

use std::fmt;

use super::{Manifest, ManifestBlock, ManifestKey, ManifestNetwork};
use crate::key::KeyKind;

const VERSION: u8 = 1;

const NAME: u8 = 1;
const PACKAGE_VERSION: u8 = 2;
const MEMORY: u8 = 3;
const NETWORK: u8 = 4;
const KEY: u8 = 5;
const BLOCK: u8 = 6;
const CONSOLE: u8 = 7;
const MEMORY_MAX: u8 = 8;

const REQUIRED: u8 = 1;
const LIBRARY: u8 = 2;

/// Why bytes are not a manifest that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The manifest has this version.
    Version(u8),
    /// A length reaches beyond the end.
    Truncated,
    /// A text is not UTF-8.
    NotUtf8,
    /// A record that must be there is missing: its name.
    Missing(&'static str),
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Version(found) => write!(
                f,
                "the image's manifest has version {found} and this tool reads version {VERSION}: build the image and the \
                 tool with the same release of Mirage"
            ),
            DecodeError::Truncated => f.write_str("the image's manifest is cut off: build the image again"),
            DecodeError::NotUtf8 => f.write_str("a text of the image's manifest is not UTF-8: build the image again"),
            DecodeError::Missing(record) => {
                write!(f, "the image's manifest has no {record}: build the image again")
            }
        }
    }
}

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut out = vec![VERSION];
    record(&mut out, NAME, manifest.name.as_bytes());
    record(&mut out, PACKAGE_VERSION, manifest.version.as_bytes());
    record(&mut out, MEMORY, &manifest.memory_mib.to_le_bytes());
    if let Some(most) = manifest.memory_max_mib {
        record(&mut out, MEMORY_MAX, &most.to_le_bytes());
    }
    for network in &manifest.networks {
        record(&mut out, NETWORK, &fields(&[network.name.as_bytes(), network.key_prefix.as_bytes()]));
    }
    for block in &manifest.blocks {
        record(&mut out, BLOCK, &fields(&[block.name.as_bytes(), block.key_prefix.as_bytes()]));
    }
    for console in &manifest.consoles {
        record(&mut out, CONSOLE, console.as_bytes());
    }
    for key in &manifest.keys {
        let presence = u8::from(key.required) * REQUIRED + u8::from(key.library) * LIBRARY;
        let kind = encode_kind(key.kind);
        let mut parts = vec![key.name.as_bytes(), &kind, std::slice::from_ref(&presence), key.doc.as_bytes()];
        parts.extend(key.default.as_ref().map(|default| default.as_bytes()));
        record(&mut out, KEY, &fields(&parts));
    }
    out
}

fn record(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    out.push(tag);
    field(out, payload);
}

fn fields(payloads: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for payload in payloads {
        field(&mut out, payload);
    }
    out
}

fn field(out: &mut Vec<u8>, payload: &[u8]) {
    // build.rs refuses what comes near 4 GiB long before.
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(payload);
}

fn encode_kind(kind: Option<KeyKind>) -> Vec<u8> {
    let Some(kind) = kind else { return vec![0] };
    let code = match kind {
        KeyKind::Flag => 1,
        KeyKind::Integer { .. } => 2,
        KeyKind::Text => 3,
        KeyKind::Port => 4,
        KeyKind::Ipv4 => 5,
        KeyKind::Cidr => 6,
        KeyKind::Duration => 7,
        KeyKind::LogLevel => 8,
        KeyKind::CidrOrDhcp => 9,
        KeyKind::Addresses => 10,
        KeyKind::Domains => 11,
        KeyKind::Routes => 12,
        KeyKind::Ipv6 => 13,
        KeyKind::Cidr6OrAuto => 14,
        KeyKind::Ipv6Routes => 15,
    };
    let mut out = vec![code];
    if let KeyKind::Integer { min, max } = kind {
        out.extend_from_slice(&min.to_le_bytes());
        out.extend_from_slice(&max.to_le_bytes());
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<Manifest, DecodeError> {
    let mut reader = Reader { rest: bytes };
    match reader.byte()? {
        VERSION => {}
        other => return Err(DecodeError::Version(other)),
    }
    let (mut name, mut version, mut memory_mib, mut memory_max_mib) = (None, None, None, None);
    let (mut networks, mut blocks) = (Vec::new(), Vec::new());
    let (mut consoles, mut keys) = (Vec::new(), Vec::new());
    while !reader.rest.is_empty() {
        let tag = reader.byte()?;
        let mut payload = Reader { rest: reader.field()? };
        match tag {
            NAME => name = Some(payload.rest_text()?),
            PACKAGE_VERSION => version = Some(payload.rest_text()?),
            MEMORY_MAX => memory_max_mib = Some(u32::from_le_bytes(payload.array()?)),
            MEMORY => memory_mib = Some(u32::from_le_bytes(payload.array()?)),
            NETWORK => networks.push(ManifestNetwork { name: payload.text()?, key_prefix: payload.text()? }),
            BLOCK => blocks.push(ManifestBlock { name: payload.text()?, key_prefix: payload.text()? }),
            CONSOLE => consoles.push(payload.rest_text()?),
            KEY => keys.push(decode_key(&mut payload)?),
            _ => {}
        }
    }
    Ok(Manifest {
        name: name.ok_or(DecodeError::Missing("name"))?,
        version: version.ok_or(DecodeError::Missing("version"))?,
        memory_mib: memory_mib.ok_or(DecodeError::Missing("memory"))?,
        memory_max_mib,
        networks,
        blocks,
        consoles,
        keys,
    })
}

fn decode_key(payload: &mut Reader<'_>) -> Result<ManifestKey, DecodeError> {
    let name = payload.text()?;
    let kind = decode_kind(&mut Reader { rest: payload.field()? })?;
    let presence = Reader { rest: payload.field()? }.byte()?;
    let doc = payload.text()?;
    let default = if payload.rest.is_empty() { None } else { Some(payload.text()?) };
    Ok(ManifestKey { name, kind, default, required: presence & REQUIRED != 0, doc, library: presence & LIBRARY != 0 })
}

fn decode_kind(payload: &mut Reader<'_>) -> Result<Option<KeyKind>, DecodeError> {
    Ok(Some(match payload.byte()? {
        1 => KeyKind::Flag,
        2 => KeyKind::Integer { min: i64::from_le_bytes(payload.array()?), max: u64::from_le_bytes(payload.array()?) },
        3 => KeyKind::Text,
        4 => KeyKind::Port,
        5 => KeyKind::Ipv4,
        6 => KeyKind::Cidr,
        7 => KeyKind::Duration,
        8 => KeyKind::LogLevel,
        9 => KeyKind::CidrOrDhcp,
        10 => KeyKind::Addresses,
        11 => KeyKind::Domains,
        12 => KeyKind::Routes,
        13 => KeyKind::Ipv6,
        14 => KeyKind::Cidr6OrAuto,
        15 => KeyKind::Ipv6Routes,
        _ => return Ok(None),
    }))
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn field(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = u32::from_le_bytes(self.array()?);
        self.take(usize::try_from(length).map_err(|_| DecodeError::Truncated)?)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        Reader { rest: self.field()? }.rest_text()
    }

    fn rest_text(&mut self) -> Result<String, DecodeError> {
        let bytes = std::mem::take(&mut self.rest);
        Ok(std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?.to_owned())
    }
}
