//! Holds the rooms that a remote side feeds to bounded recursion: the calls of `src/relay`, `src/wire` and `src/auth`
//! make no cycle but by those listed in `tests/data/recursion.txt`, each with the reason why its depth is bounded.
//!
//! It reads the sources, not the types: a method of a value whose type it cannot tell may be any method of that name.
//! So it may see a cycle that is none, which then stands in the list as such, and sees all that go by names of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

const ROOMS: [&str; 3] = ["relay", "wire", "auth"];
const LIST: &str = "tests/data/recursion.txt";

/// Methods of std's that types of ours have, too.
const STD: &[&str] = &[
    "as_bytes",
    "cmp",
    "clear",
    "clone",
    "contains",
    "default",
    "drain",
    "extend",
    "find",
    "first",
    "fmt",
    "from",
    "get",
    "get_mut",
    "insert",
    "into_iter",
    "is_empty",
    "iter",
    "iter_mut",
    "keys",
    "last",
    "len",
    "matches",
    "new",
    "next",
    "parse",
    "pop_back",
    "pop_front",
    "push",
    "push_back",
    "push_front",
    "remove",
    "starts_with",
    "take",
    "to_string",
    "write",
];

/// A function: the type that it belongs to, or its file, and its name.
type Name = (String, String);

#[derive(Default)]
struct Tree {
    /// Functions, and whom each calls.
    calls: BTreeMap<Name, BTreeSet<Name>>,
    /// Types in the types of fields, by type and field.
    fields: BTreeMap<Name, BTreeSet<String>>,
    /// Types in what functions give.
    gives: BTreeMap<Name, BTreeSet<String>>,
    /// Types in what variants of enums hold, by their names.
    variants: BTreeMap<String, BTreeSet<String>>,
    /// Types in what an alias stands for.
    aliases: BTreeMap<String, BTreeSet<String>>,
    types: BTreeSet<String>,
    /// Those of them that hold whatever type they are given.
    generic: BTreeSet<String>,
}

/// Whether this item is compiled for tests alone.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

fn parse(room: &str) -> Vec<(String, syn::File)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
    let (mut folders, mut files) = (vec![root], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).expect("the folder is there");
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        for path in paths {
            let stem = path
                .file_stem()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if stem == "tests" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("the file is text");
                files.push((stem, syn::parse_file(&text).expect("the file is Rust")));
            }
        }
    }
    files
}

/// The names of types in a type.
#[derive(Default)]
struct Idents(BTreeSet<String>);

impl<'ast> Visit<'ast> for Idents {
    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.0.insert(ident.to_string());
    }
}

fn idents_of(ty: &syn::Type) -> BTreeSet<String> {
    let mut idents = Idents::default();
    idents.visit_type(ty);
    idents.0
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => path
            .path
            .segments
            .last()
            .map_or_else(String::new, |segment| segment.ident.to_string()),
        syn::Type::Reference(reference) => type_name(&reference.elem),
        _ => String::new(),
    }
}

/// First look: what there is.
struct Declared<'a> {
    tree: &'a mut Tree,
    file: String,
    owner: Option<String>,
}

impl Declared<'_> {
    fn function(&mut self, signature: &syn::Signature) {
        let owner = self.owner.clone().unwrap_or_else(|| self.file.clone());
        let name = signature.ident.to_string();
        let mut given = BTreeSet::new();
        if let syn::ReturnType::Type(_, ty) = &signature.output {
            given = idents_of(ty);
            if given.remove("Self") {
                given.insert(owner.clone());
            }
        }
        self.tree.gives.insert((owner.clone(), name.clone()), given);
        self.tree.calls.entry((owner, name)).or_default();
    }
}

impl<'ast> Visit<'ast> for Declared<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.tree.types.insert(item.ident.to_string());
        if item.generics.type_params().next().is_some() {
            self.tree.generic.insert(item.ident.to_string());
        }
        for field in &item.fields {
            if let Some(name) = &field.ident {
                let field_of = (item.ident.to_string(), name.to_string());
                self.tree.fields.insert(field_of, idents_of(&field.ty));
            }
        }
    }
    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.tree.types.insert(item.ident.to_string());
        for variant in &item.variants {
            let held = variant.fields.iter().flat_map(|field| idents_of(&field.ty));
            let held: Vec<String> = held.collect();
            let known = self.tree.variants.entry(variant.ident.to_string());
            known.or_default().extend(held);
        }
    }
    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        let name = item.ident.to_string();
        self.tree.aliases.insert(name, idents_of(&item.ty));
    }
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let owner = self.owner.replace(type_name(&item.self_ty));
        syn::visit::visit_item_impl(self, item);
        self.owner = owner;
    }
    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let owner = self.owner.replace(item.ident.to_string());
        syn::visit::visit_item_trait(self, item);
        self.owner = owner;
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig);
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig);
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig);
    }
}

/// Second look: who calls whom.
struct Calls<'a> {
    tree: &'a mut Tree,
    file: String,
    owner: Option<String>,
    within: Option<Name>,
    /// Types of parameters and of locals that say theirs.
    locals: BTreeMap<String, BTreeSet<String>>,
}

impl Calls<'_> {
    fn call(&mut self, callee: Name) {
        if self.tree.calls.contains_key(&callee)
            && let Some(within) = &self.within
        {
            let calls = self.tree.calls.get_mut(within).expect("declared");
            calls.insert(callee);
        }
    }

    /// The types that an expression may have, as far as names tell; None: any.
    fn types_of(&self, expression: &syn::Expr) -> Option<BTreeSet<String>> {
        match expression {
            syn::Expr::Path(path) => {
                let ident = path.path.get_ident()?.to_string();
                if ident == "self" {
                    return self.owner.clone().map(|owner| BTreeSet::from([owner]));
                }
                self.locals.get(&ident).cloned()
            }
            syn::Expr::Field(field) => match &field.member {
                syn::Member::Named(name) => {
                    let name = name.to_string();
                    let bases = self.types_of(&field.base);
                    let fields = self.tree.fields.iter().filter(|((owner, field), _)| {
                        *field == name && bases.as_ref().is_none_or(|bases| bases.contains(owner))
                    });
                    let types: BTreeSet<String> = fields
                        .flat_map(|(_, types)| types.iter().cloned())
                        .collect();
                    (!types.is_empty()).then_some(types)
                }
                syn::Member::Unnamed(_) => None,
            },
            syn::Expr::Index(index) => self.types_of(&index.expr),
            syn::Expr::Paren(inner) => self.types_of(&inner.expr),
            syn::Expr::Reference(inner) => self.types_of(&inner.expr),
            syn::Expr::Unary(inner) => self.types_of(&inner.expr),
            syn::Expr::Try(inner) => self.types_of(&inner.expr),
            syn::Expr::MethodCall(call) => {
                let method = call.method.to_string();
                let receivers = self.types_of(&call.receiver);
                let owners = self.owners(receivers.as_ref(), &method);
                if owners.is_empty() {
                    // A method of std's keeps what is in its receiver.
                    return receivers;
                }
                let mut given: BTreeSet<String> = owners
                    .iter()
                    .flat_map(|owner| self.tree.gives[owner].iter().cloned())
                    .collect();
                // What a generic container gives is in the type of the container.
                let mut owners = owners.iter();
                if owners.any(|(owner, _)| self.tree.generic.contains(owner)) {
                    given.extend(receivers.unwrap_or_default());
                }
                Some(given)
            }
            syn::Expr::Call(call) => match &*call.func {
                syn::Expr::Path(path) => {
                    let name = path.path.segments.last()?.ident.to_string();
                    if name == "Some" || name == "Ok" {
                        return self.types_of(call.args.first()?);
                    }
                    let callees = self.callees(&path.path);
                    let given: BTreeSet<String> = callees
                        .iter()
                        .flat_map(|callee| self.tree.gives[callee].iter().cloned())
                        .collect();
                    // What std makes is of none of our types.
                    Some(given)
                }
                _ => None,
            },
            syn::Expr::Struct(made) => {
                let name = made.path.segments.last()?.ident.to_string();
                Some(BTreeSet::from([name]))
            }
            _ => None,
        }
    }

    /// The methods of this name of these types. A value of a type that nobody can tell and a name
    /// that std has, too, are taken for std's.
    fn owners(&self, types: Option<&BTreeSet<String>>, method: &str) -> Vec<Name> {
        if types.is_none() && STD.contains(&method) {
            return Vec::new();
        }
        let types = types.map(|types| {
            let aliases = types.iter().filter_map(|name| self.tree.aliases.get(name));
            let aliased = aliases.flatten();
            types
                .iter()
                .chain(aliased)
                .cloned()
                .collect::<BTreeSet<String>>()
        });
        let all = self.tree.calls.keys();
        all.filter(|(owner, name)| name == method && self.tree.types.contains(owner))
            .filter(|(owner, _)| types.as_ref().is_none_or(|types| types.contains(owner)))
            .cloned()
            .collect()
    }

    /// Functions that a path may name: of a type, of this file, or of another file or room.
    fn callees(&self, path: &syn::Path) -> Vec<Name> {
        let segments: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        let Some((name, before)) = segments.split_last() else {
            return Vec::new();
        };
        let known = |name: &Name| {
            self.tree
                .calls
                .contains_key(name)
                .then(|| vec![name.clone()])
        };
        let here = (self.file.clone(), name.clone());
        let free = || {
            let all = self.tree.calls.keys();
            all.filter(|(owner, known)| known == name && !self.tree.types.contains(owner))
                .cloned()
                .collect()
        };
        match before.last().map(String::as_str) {
            None if self.locals.contains_key(name) => Vec::new(),
            None | Some("self") => known(&here).unwrap_or_else(free),
            Some("Self") => {
                let owner = self.owner.clone().unwrap_or_default();
                known(&(owner, name.clone())).unwrap_or_default()
            }
            Some(owner) if self.tree.types.contains(owner) => {
                known(&(owner.to_owned(), name.clone())).unwrap_or_default()
            }
            // `super::name`, or by the door of another room.
            Some(module) if module.starts_with(|first: char| first.is_lowercase()) => {
                known(&(module.to_owned(), name.clone())).unwrap_or_else(|| match module {
                    "std" | "mem" | "memmem" | "cmp" | "iter" => Vec::new(),
                    _ => free(),
                })
            }
            Some(_) => Vec::new(),
        }
    }

    fn bind(&mut self, pattern: &syn::Pat, types: Option<BTreeSet<String>>) {
        let held_by = |path: &syn::Path| {
            let variant = path.segments.last()?.ident.to_string();
            self.tree.variants.get(&variant).cloned()
        };
        match pattern {
            syn::Pat::Ident(ident) => {
                if let Some((_, inner)) = &ident.subpat {
                    self.bind(inner, types.clone());
                }
                let name = ident.ident.to_string();
                match types {
                    Some(types) => self.locals.insert(name, types),
                    None => self.locals.remove(&name),
                };
            }
            // What a variant of ours holds; of std's, what it was made of.
            syn::Pat::TupleStruct(variant) => {
                let held = held_by(&variant.path).or(types);
                for inner in &variant.elems {
                    self.bind(inner, held.clone());
                }
            }
            syn::Pat::Struct(variant) => {
                let held = held_by(&variant.path).or(types);
                for field in &variant.fields {
                    self.bind(&field.pat, held.clone());
                }
            }
            syn::Pat::Tuple(tuple) => {
                for inner in &tuple.elems {
                    self.bind(inner, types.clone());
                }
            }
            syn::Pat::Slice(slice) => {
                for inner in &slice.elems {
                    self.bind(inner, types.clone());
                }
            }
            syn::Pat::Or(or) => {
                for inner in &or.cases {
                    self.bind(inner, types.clone());
                }
            }
            syn::Pat::Reference(inner) => self.bind(&inner.pat, types),
            syn::Pat::Paren(inner) => self.bind(&inner.pat, types),
            syn::Pat::Type(typed) => self.bind(&typed.pat, Some(idents_of(&typed.ty))),
            _ => {}
        }
    }

    fn inside(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let owner = self.owner.clone().unwrap_or_else(|| self.file.clone());
        let outer = self.within.replace((owner, signature.ident.to_string()));
        let locals = std::mem::take(&mut self.locals);
        for input in &signature.inputs {
            if let syn::FnArg::Typed(typed) = input {
                self.bind(&typed.pat, Some(idents_of(&typed.ty)));
            }
        }
        self.visit_block(block);
        self.within = outer;
        self.locals = locals;
    }
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if is_test(&item.attrs) {
            return;
        }
        let owner = self.owner.replace(type_name(&item.self_ty));
        syn::visit::visit_item_impl(self, item);
        self.owner = owner;
    }
    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let owner = self.owner.replace(item.ident.to_string());
        syn::visit::visit_item_trait(self, item);
        self.owner = owner;
    }
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_test(&item.attrs) {
            let owner = self.owner.take();
            self.inside(&item.sig, &item.block);
            self.owner = owner;
        }
    }
    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.inside(&item.sig, &item.block);
    }
    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.inside(&item.sig, block);
        }
    }
    fn visit_local(&mut self, local: &'ast syn::Local) {
        syn::visit::visit_local(self, local);
        let types = local
            .init
            .as_ref()
            .and_then(|init| self.types_of(&init.expr));
        self.bind(&local.pat, types);
    }
    fn visit_expr_match(&mut self, chosen: &'ast syn::ExprMatch) {
        self.visit_expr(&chosen.expr);
        let types = self.types_of(&chosen.expr);
        for arm in &chosen.arms {
            self.bind(&arm.pat, types.clone());
            self.visit_arm(arm);
        }
    }
    fn visit_expr_let(&mut self, binding: &'ast syn::ExprLet) {
        syn::visit::visit_expr_let(self, binding);
        let types = self.types_of(&binding.expr);
        self.bind(&binding.pat, types);
    }
    fn visit_expr_for_loop(&mut self, each: &'ast syn::ExprForLoop) {
        let types = self.types_of(&each.expr);
        self.bind(&each.pat, types);
        syn::visit::visit_expr_for_loop(self, each);
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let types = self.types_of(&call.receiver);
        for callee in self.owners(types.as_ref(), &call.method.to_string()) {
            self.call(callee);
        }
        // What a closure is given is in what the method is called of.
        for argument in &call.args {
            if let syn::Expr::Closure(closure) = argument {
                for input in &closure.inputs {
                    self.bind(input, types.clone());
                }
            }
        }
        syn::visit::visit_expr_method_call(self, call);
    }
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        for callee in self.callees(&path.path) {
            self.call(callee);
        }
    }
    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let parser = syn::punctuated::Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated;
        if let Ok(arguments) = called.parse_body_with(parser) {
            for argument in &arguments {
                // The syntax tree of a macro's arguments lives as long as this call only.
                let mut within = Calls {
                    tree: self.tree,
                    file: self.file.clone(),
                    owner: self.owner.clone(),
                    within: self.within.clone(),
                    locals: self.locals.clone(),
                };
                within.visit_expr(argument);
            }
        }
    }
}

fn tree(rooms: &[&str]) -> Tree {
    let files: Vec<(String, syn::File)> = rooms.iter().flat_map(|room| parse(room)).collect();
    tree_of(&files)
}

fn tree_of(files: &[(String, syn::File)]) -> Tree {
    let mut tree = Tree::default();
    for (file, syntax) in files {
        let (tree, file) = (&mut tree, file.clone());
        let owner = None;
        Declared { tree, file, owner }.visit_file(syntax);
    }
    for (file, syntax) in files {
        let mut calls = Calls {
            tree: &mut tree,
            file: file.clone(),
            owner: None,
            within: None,
            locals: BTreeMap::new(),
        };
        calls.visit_file(syntax);
    }
    tree
}

type Edge = (Name, Name);

/// Whether the list has this call, or any call of the callee.
fn is_cut(cuts: &BTreeSet<Edge>, caller: &Name, callee: &Name) -> bool {
    let anybody = ("*".to_owned(), String::new());
    cuts.contains(&(anybody, callee.clone())) || cuts.contains(&(caller.clone(), callee.clone()))
}

/// A cycle of calls none of which is in `without`.
fn cycle(tree: &Tree, without: &BTreeSet<Edge>) -> Option<Vec<Name>> {
    let mut done = BTreeSet::new();
    for start in tree.calls.keys() {
        // Depth first, with the way that led here.
        let mut way: Vec<(&Name, Vec<&Name>)> = Vec::new();
        let callees = |of: &Name| -> Vec<&Name> {
            let all = tree.calls[of].iter();
            all.filter(|callee| !is_cut(without, of, callee)).collect()
        };
        if !done.contains(start) {
            way.push((start, callees(start)));
        }
        while let Some((at, left)) = way.last_mut() {
            let Some(next) = left.pop() else {
                done.insert(*at);
                way.pop();
                continue;
            };
            if let Some(begin) = way.iter().position(|(on_way, _)| *on_way == next) {
                let mut names: Vec<Name> = way[begin..]
                    .iter()
                    .map(|(name, _)| (*name).clone())
                    .collect();
                names.push(next.clone());
                return Some(names);
            }
            if !done.contains(next) {
                way.push((next, callees(next)));
            }
        }
    }
    None
}

/// `caller -> callee`, or `* -> callee` for every call of it, then indented lines with the reason.
fn list() -> Vec<(Edge, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    let text = fs::read_to_string(path).expect("the list is there");
    let mut edges: Vec<(Edge, String)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        if line.starts_with(' ') {
            let (_, reason) = edges.last_mut().expect("a reason follows its call");
            reason.push_str(line.trim());
            continue;
        }
        let (caller, callee) = line.split_once(" -> ").expect("caller -> callee");
        let name = |text: &str| {
            let (owner, name) = text.split_once("::").unwrap_or((text, ""));
            (owner.to_owned(), name.to_owned())
        };
        edges.push(((name(caller), name(callee)), String::new()));
    }
    edges
}

fn show(names: &[Name]) -> String {
    let names: Vec<String> = names
        .iter()
        .map(|(owner, name)| format!("{owner}::{name}"))
        .collect();
    names.join("\n    -> ")
}

/// SEC-07: the stack grows with nothing that a remote side sends.
#[test]
fn every_recursion_is_listed_with_its_bound() {
    let tree = tree(&ROOMS);
    let list = list();
    let cuts: BTreeSet<Edge> = list.iter().map(|(edge, _)| edge.clone()).collect();
    if let Some(cycle) = cycle(&tree, &cuts) {
        panic!(
            "these call one another in a circle; mend it, or list one of the calls in {LIST} with the reason why its depth is bounded:\n    {}",
            show(&cycle)
        );
    }
    for (edge, reason) in &list {
        let (caller, callee) = edge;
        let named = show(&[caller.clone(), callee.clone()]);
        assert!(reason.len() > 20, "no reason for\n    {named}");
        assert!(
            caller.0 == "*"
                || tree
                    .calls
                    .get(caller)
                    .is_some_and(|calls| calls.contains(callee)),
            "no such call any more:\n    {named}"
        );
        let mut fewer = cuts.clone();
        fewer.remove(edge);
        assert!(
            cycle(&tree, &fewer).is_some(),
            "without this call there is no circle either: take it off {LIST}\n    {named}"
        );
    }
}

#[test]
fn the_reader_sees_circles_through_fields_paths_closures_and_locals() {
    let text = "
        struct A { b: B }
        struct B { items: Vec<u8> }
        impl A {
            fn first(&mut self) { self.b.second(self) }
            fn apart(&self) { self.b.items.push(1); }
        }
        impl B {
            fn second(&self, a: &mut A) { free(a) }
            fn push(&self, a: &A) { a.apart() }
        }
        fn free(a: &mut A) { if let Some(a) = Some(a) { [1].map(|_| a.first()); } }
    ";
    let files = [("f".to_owned(), syn::parse_str(text).expect("Rust"))];
    let tree = tree_of(&files);
    let found = cycle(&tree, &BTreeSet::new()).expect("a circle");
    assert_eq!(found.len(), 4, "{found:?}");
    let free = ("f".to_owned(), "free".to_owned());
    let first = ("A".to_owned(), "first".to_owned());
    assert_eq!(cycle(&tree, &BTreeSet::from([(free, first)])), None);
}

/// The machine is in there: calls that any change would keep.
#[test]
fn the_reader_sees_the_machine() {
    let tree = tree(&ROOMS);
    let name = |name: &str| ("Relay".to_owned(), name.to_owned());
    for (caller, callee) in [
        ("receive", "deliver_ups"),
        ("decode", "head"),
        ("deliver_ups", "up"),
    ] {
        assert!(
            tree.calls[&name(caller)].contains(&name(callee)),
            "{caller}"
        );
    }
    assert!(tree.calls.len() > 500, "{} functions", tree.calls.len());
}
