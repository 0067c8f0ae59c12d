//! Gives back the program's pages that only its start needed.
//!
//! Owner: `run`, once, when the start is over. Of the program's code one part in ten runs after that, yet all that the start
//! touched stays mapped, with what lay around it (the kernel maps 64 KiB at a fault). Whatever is still needed is
//! mapped again at its next use, from the page cache. Must not touch anything but executable mappings of files:
//! nobody has written to them, so nothing can be lost.
#![allow(unsafe_code, reason = "madvise(2) has no safe wrapper")]

use std::fs;

/// Unmaps the program's code (madvise(2), MADV_DONTNEED). Where that fails, memory stays as it is.
pub fn give_back() {
    let (Ok(maps), Ok(program)) = (fs::read_to_string("/proc/self/maps"), fs::read_link("/proc/self/exe"))
    else {
        return;
    };
    let Some(program) = program.to_str() else { return };
    for (start, end) in maps.lines().filter_map(|line| code_of(line, program)) {
        // SAFETY: a private mapping of a file that is not writable: its pages are the file's, and a dropped one is
        // read from there again when it is used next.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
    }
}

/// The range of a line of proc_pid_maps(5) that maps code of `program`.
fn code_of(line: &str, program: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    if fields.next()? != "r-xp" || fields.nth(3)? != program {
        return None;
    }
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_code_is_found() {
        let code = "55d0a000-55d0c000 r-xp 00222000 fe:00 77  /usr/bin/bridge";
        assert_eq!(code_of(code, "/usr/bin/bridge"), Some((0x55d0_a000, 0x55d0_c000)));
        assert_eq!(code_of(code, "/usr/bin/other"), None);
        assert_eq!(code_of(&code.replace("r-xp", "r--p"), "/usr/bin/bridge"), None);
        assert_eq!(code_of("7ffc0000-7ffc2000 r-xp 00000000 00:00 0  [vdso]", "/usr/bin/bridge"), None);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        give_back();
        assert_eq!(std::hint::black_box(40) + 2, 42);
    }
}
