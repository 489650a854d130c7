//! The tree of nodes: values, permissions, children.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::hypervisor::DomainId;
use crate::xenstore::wire::{Access, Permission};

/// Nodes by their absolute path.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone, Debug)]
struct Node {
    value: Vec<u8>,
    permissions: Vec<Permission>,
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

impl Tree {
    /// The value of a node.
    pub fn value(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(path).map(|node| &node.value[..])
    }

    /// Writes a node and makes its parents. New nodes take the permissions of their parent; those of a domain are its own.
    pub fn write(&mut self, path: &str, value: &[u8], creator: Option<DomainId>) {
        if let Some(node) = self.nodes.get_mut(path) {
            node.value = value.to_vec();
            return;
        }
        let mut permissions = Vec::from([Permission { domain: DomainId(0), access: Access::Read }]);
        if let Some(parent) = parent(path) {
            if !self.nodes.contains_key(parent) {
                self.write(parent, b"", creator);
            }
            permissions.clone_from(&self.nodes[parent].permissions);
        }
        if let (Some(domain), Some(first)) = (creator, permissions.first_mut()) {
            first.domain = domain;
        }
        self.nodes.insert(path.to_string(), Node { value: value.to_vec(), permissions });
    }

    /// Makes `domain` the owner of a node.
    pub fn own(&mut self, path: &str, domain: DomainId) {
        self.set_permissions(path, Vec::from([Permission { domain, access: Access::Read }]));
    }

    /// Removes a node and all below it; whether there was one.
    pub fn remove(&mut self, path: &str) -> bool {
        let before = self.nodes.len();
        self.nodes
            .retain(|node, _| !node.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        before != self.nodes.len()
    }

    /// The names of a node's children, each with a NUL.
    pub fn children(&self, path: &str) -> Option<Vec<u8>> {
        self.nodes.get(path)?;
        let mut list = Vec::new();
        for node in self.nodes.keys() {
            if let Some(name) = node.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'))
                && !name.contains('/')
            {
                list.extend_from_slice(name.as_bytes());
                list.push(0);
            }
        }
        Some(list)
    }

    /// A node's permissions.
    pub fn permissions(&self, path: &str) -> Option<&[Permission]> {
        self.nodes.get(path).map(|node| &node.permissions[..])
    }

    /// Sets a node's permissions; whether there is such a node.
    pub fn set_permissions(&mut self, path: &str, permissions: Vec<Permission>) -> bool {
        match self.nodes.get_mut(path) {
            Some(node) => {
                node.permissions = permissions;
                true
            }
            None => false,
        }
    }

    /// Whether `domain` may write a node, or make it.
    pub fn may_write(&self, path: &str, domain: DomainId) -> bool {
        let mut nearest = Some(path);
        while let Some(path) = nearest {
            if let Some(node) = self.nodes.get(path) {
                return match node.permissions.split_first() {
                    Some((owner, _)) if owner.domain == domain => true,
                    Some((owner, others)) => {
                        let named = others.iter().find(|entry| entry.domain == domain);
                        let access = named.map_or(owner.access, |entry| entry.access);
                        matches!(access, Access::Write | Access::Both)
                    }
                    None => false,
                };
            }
            nearest = parent(path);
        }
        false
    }
}
