//! The bytes of such an arena, by the format page alone.

pub(crate) const PAGE: u64 = 4096;

pub(crate) fn u32_at(image: &[u8], at: u64) -> u64 {
    u32::from_le_bytes(image[at as usize..][..4].try_into().unwrap()).into()
}

pub(crate) fn u64_at(image: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(image[at as usize..][..8].try_into().unwrap())
}

pub(crate) fn put(image: &mut [u8], at: u64, word: u64) {
    image[at as usize..][..8].copy_from_slice(&word.to_le_bytes());
}

/// First page of the heap.
pub(crate) fn heap_page(image: &[u8]) -> u64 {
    u32_at(image, 64)
}

pub(crate) fn heap_end(image: &[u8]) -> u64 {
    u32_at(image, heap_page(image) * PAGE + 8)
}

/// Where the page map has the word of a page that its first array describes.
pub(crate) fn map_word(image: &[u8], page: u64) -> u64 {
    let index = page - heap_page(image);
    assert!(index < 512);
    (heap_page(image) + 1) * PAGE + index * 8
}

/// Where the header names the runs of the log.
pub(crate) fn header_words(image: &[u8]) -> [u64; 2] {
    [7, 104].map(|word| heap_page(image) * PAGE + word * 8)
}

/// Page of the slot of the larger generation.
pub(crate) fn newest_slot(image: &[u8]) -> u64 {
    if u64_at(image, PAGE + 8) > u64_at(image, 2 * PAGE + 8) { 1 } else { 2 }
}

pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// Has a slot name another place, with the right checksum.
pub(crate) fn put_place(image: &mut [u8], slot: u64, place: u64) {
    let at = (slot * PAGE) as usize;
    put(image, slot * PAGE + 36, place);
    let crc = crc32(&image[at..at + 60]);
    image[at + 60..at + 64].copy_from_slice(&crc.to_le_bytes());
}

pub(crate) const fn place(page: u64, pages: u64) -> u64 {
    page | pages << 32
}

/// Places in which no log is, or can be.
pub(crate) fn odd_places(image: &[u8]) -> Vec<u64> {
    let (first, end) = (heap_page(image), heap_end(image));
    let page = u64::from(u32::MAX);
    vec![
        place(0, 16),
        place(1, 0),
        place(4, 32),
        place(first, 32),
        place(first + 1, 32),
        place(first + 3, 32),
        place(first + 40, 64),
        place(first + 40, 15),
        place(end - 16, 16),
        place(end - 1, 64),
        place(end + 100, 64),
        place(1 << 30, 1 << 18),
        place(first + 40, (1 << 18) + 1),
        place(page - 15, 16),
        place(page, 16),
        place(page, page),
    ]
}
