//! Debian packages, fetched and unpacked without root, without package lists and without installing anything.

mod apt;
mod tree;

pub(crate) use apt::fetch;
pub(crate) use tree::Tree;

/// Some packages that belong together.
pub(crate) struct PackageSet {
    /// What it is called in the cache.
    pub(crate) name: &'static str,
    /// What apt is asked for.
    pub(crate) wanted: &'static [&'static str],
    /// Of the packages that apt then names, those whose names start so are fetched beside `wanted` and the libraries: the
    /// versioned packages behind a name without a version.
    pub(crate) prefixes: &'static [&'static str],
}

impl PackageSet {
    /// Whether a package that apt named is fetched. What is only needed to install packages (perl, python, debconf …) is not.
    fn keeps(&self, package: &str) -> bool {
        let library = package.starts_with("lib") || package == "zlib1g";
        let language = package.contains("perl") || package.contains("python");
        (library && !language)
            || self.wanted.contains(&package)
            || self.prefixes.iter().any(|prefix| package.starts_with(prefix))
    }
}

/// What dom0 and the Linux domU of the baselines are made of.
pub(crate) const DOM0: PackageSet = PackageSet {
    name: "dom0",
    wanted: &[
        "xen-system-amd64",
        "xen-utils-common",
        "xenstore-utils",
        "libxen-dev",
        "linux-image-amd64",
        "bash",
        "busybox-static",
        "coreutils",
        "iproute2",
        "util-linux",
        "mount",
        "libgcc-s1",
        "apache2-utils",
        "iperf3",
        "nginx",
        "dnsmasq-base",
        "radvd",
        "gzip",
        "xz-utils",
        "zstd",
    ],
    prefixes: &["xen-hypervisor-", "xen-utils-", "linux-image-"],
};

/// The backend of channels, for dom0: QEMU with its parts for Xen.
pub(crate) const CHANNELS: PackageSet =
    PackageSet { name: "channels", wanted: &["qemu-system-xen"], prefixes: &["qemu-system-xen"] };

/// QEMU, for hosts that have none.
pub(crate) const QEMU: PackageSet =
    PackageSet { name: "qemu", wanted: &["qemu-system-x86", "seabios"], prefixes: &["qemu-system-"] };

/// What benchmarks compare with on this host, and what they set interfaces up with.
pub(crate) const PEERS: PackageSet = PackageSet { name: "peers", wanted: &["nginx", "ethtool"], prefixes: &[] };

#[cfg(test)]
mod tests {
    use super::{DOM0, QEMU};

    #[test]
    fn versioned_packages_and_libraries_are_kept() {
        for package in [
            "xen-hypervisor-4.20-amd64",
            "xen-utils-4.17",
            "linux-image-6.12.41-amd64",
            "libc6",
            "libssl3t64",
            "zlib1g",
            "bash",
        ] {
            assert!(DOM0.keeps(package), "{package}");
        }
        assert!(QEMU.keeps("qemu-system-data") && QEMU.keeps("libslirp0") && QEMU.keeps("seabios"));
    }

    #[test]
    fn what_only_an_installation_needs_is_left_out() {
        for package in [
            "perl-base",
            "libperl5.36",
            "python3.11",
            "libpython3.11-stdlib",
            "debconf",
            "udev",
            "initramfs-tools",
            "grub-common",
        ] {
            assert!(!DOM0.keeps(package), "{package}");
        }
        assert!(!QEMU.keeps("linux-image-6.1.0-9-amd64"));
    }
}
