//! What a file is by its first bytes, where that is no text of lines.

/// What a UTF-8 file may begin with, which is part of no line.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// As many bytes as tell.
pub(super) const MAGIC_BYTES: u64 = 6;

/// How files begin, what they are, and what their owner does to have lines.
static FOREIGN: [(&[u8], &str, &str); 9] = [
    (b"\x1f\x8b", "compressed by gzip", "decompress it first (gunzip)"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "decompress it first (unzstd)"),
    (b"\x04\x22\x4d\x18", "compressed by lz4", "decompress it first (unlz4)"),
    (b"\xfd7zXZ\0", "compressed by xz", "decompress it first (unxz)"),
    (b"BZh", "compressed by bzip2", "decompress it first (bunzip2)"),
    (b"PK\x03\x04", "a zip archive", "unpack it first (unzip)"),
    (b"\xff\xfe", "text in UTF-16", "convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "text in UTF-16", "convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"PAR1", "Parquet", "write its rows as JSON lines first"),
];

/// What a file is that begins like this and has no lines to read, and what to do about it.
pub(super) fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    let found = FOREIGN.iter().find(|(magic, ..)| head.starts_with(magic));
    found.map(|(_, what, way_out)| (*what, *way_out))
}
