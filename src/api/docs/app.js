/* The reference page: reads /api/openapi.json and writes it for people. Text goes in as text nodes only, so nothing in the
 * description can become markup. */
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 5;

let description = null;

function make(tag, properties, ...children) {
	const element = document.createElement(tag);
	Object.assign(element, properties);
	for (const child of children)
		if (child !== null && child !== undefined)
			element.append(child);
	return element;
}

/* `code`, **strong** and blank lines are all the markup that the description uses. */
function inline(text) {
	const fragment = document.createDocumentFragment();
	for (const piece of text.split(/(`[^`]*`|\*\*[^*]*\*\*)/)) {
		if (piece.startsWith("`"))
			fragment.append(make("code", {}, piece.slice(1, -1)));
		else if (piece.startsWith("**"))
			fragment.append(make("strong", {}, piece.slice(2, -2)));
		else
			fragment.append(piece);
	}
	return fragment;
}

function prose(text) {
	const fragment = document.createDocumentFragment();
	for (const part of (text || "").trim().split(/\n\s*\n/))
		if (part !== "")
			fragment.append(make("p", {}, inline(part)));
	return fragment;
}

function resolve(thing) {
	let result = thing;
	while (result && result.$ref)
		result = result.$ref.replace(/^#\//, "").split("/").reduce((at, key) => at[key], description);
	return result;
}

function nameOf(schema) {
	return schema && schema.$ref ? schema.$ref.split("/").pop() : null;
}

/* One word or two for a type: "string (date-time)", "array of Event", "number or null". */
function typeText(schema) {
	const name = nameOf(schema);
	const s = resolve(schema) || {};
	if (s.oneOf || s.anyOf)
		return (s.oneOf || s.anyOf).map(typeText).join(" or ");
	if (s.const !== undefined)
		return JSON.stringify(s.const);
	const types = Array.isArray(s.type) ? s.type : [s.type || (s.properties || s.allOf ? "object" : "any")];
	return types.map((type) => {
		if (type === "array")
			return "array of " + typeText(s.items || {});
		if (type === "object" && name)
			return name;
		return s.format && type !== "null" ? `${type} (${s.format})` : type;
	}).join(" or ");
}

function limits(schema) {
	const s = resolve(schema) || {};
	const found = [];
	if (s.enum)
		found.push("one of " + s.enum.map((v) => JSON.stringify(v)).join(", "));
	if (s.default !== undefined)
		found.push("default " + JSON.stringify(s.default));
	if (s.minimum !== undefined)
		found.push("at least " + s.minimum);
	if (s.exclusiveMinimum !== undefined)
		found.push("more than " + s.exclusiveMinimum);
	if (s.maximum !== undefined)
		found.push("at most " + s.maximum);
	if (s.minLength !== undefined || s.maxLength !== undefined)
		found.push(`${s.minLength || 0} to ${s.maxLength === undefined ? "any number of" : s.maxLength} characters`);
	if (s.maxItems !== undefined)
		found.push(`at most ${s.maxItems} items`);
	return found.join("; ");
}

/* The properties of an object, those of its parts too. */
function propertiesOf(schema) {
	const s = resolve(schema) || {};
	const all = { properties: {}, required: [], rest: s.additionalProperties };
	for (const part of s.allOf || []) {
		const inner = propertiesOf(part);
		Object.assign(all.properties, inner.properties);
		all.required.push(...inner.required);
	}
	Object.assign(all.properties, s.properties);
	all.required.push(...(s.required || []));
	return all;
}

function addRows(body, schema, prefix, depth, seen) {
	const { properties, required, rest } = propertiesOf(schema);
	const rows = Object.entries(properties);
	if (rest && typeof rest === "object")
		rows.push(["<name>", rest]);
	for (const [name, property] of rows) {
		const description_ = property.description || (resolve(property) || {}).description;
		const bounds = limits(property);
		body.append(make("tr", {},
			make("td", {}, make("code", {}, prefix + name), required.includes(name) ? make("span", { className: "soft" }, " *") : null),
			make("td", { className: "soft" }, typeText(property)),
			make("td", {}, prose(description_), bounds ? make("p", { className: "soft" }, bounds) : null)));
		addInner(body, property, prefix + name, depth, seen);
	}
}

function addInner(body, property, path, depth, seen) {
	let inner = property;
	let suffix = ".";
	while (resolve(inner) && resolve(inner).type === "array") {
		inner = resolve(inner).items;
		suffix = "[].";
	}
	const name = nameOf(inner);
	if (depth >= DEEPEST || (name && seen.includes(name)))
		return;
	for (const branch of (resolve(inner) || {}).oneOf || [inner])
		addRows(body, branch, path + suffix, depth + 1, name ? [...seen, name] : seen);
}

function fieldTable(schema) {
	const body = make("tbody", {});
	const s = resolve(schema) || {};
	const name = nameOf(schema);
	const seen = name ? [name] : [];
	if (s.type === "array")
		addInner(body, schema, "", 0, seen);
	for (const branch of s.oneOf || [schema])
		addRows(body, branch, "", 0, seen);
	if (body.children.length === 0)
		return prose(s.description);
	return make("table", {},
		make("thead", {}, make("tr", {}, make("th", {}, "field (* always)"), make("th", {}, "type"), make("th", {}, "meaning"))), body);
}

function exampleOf(media) {
	if (media.example !== undefined)
		return media.example;
	const first = Object.values(media.examples || {})[0];
	return first === undefined ? undefined : resolve(first).value;
}

function example(media) {
	const value = exampleOf(media);
	if (value === undefined)
		return null;
	return make("pre", { tabIndex: 0 }, make("code", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2)));
}

function parameters(operation, item) {
	const all = [...(item.parameters || []), ...(operation.parameters || [])].map(resolve);
	if (all.length === 0)
		return null;
	const body = make("tbody", {});
	for (const p of all)
		body.append(make("tr", {},
			make("td", {}, make("code", {}, p.name), p.required ? make("span", { className: "soft" }, " *") : null),
			make("td", { className: "soft" }, `${p.in}, ${typeText(p.schema)}`),
			make("td", {}, prose(p.description), limits(p.schema) ? make("p", { className: "soft" }, limits(p.schema)) : null)));
	return make("div", {}, make("h4", {}, "Parameters"), make("table", {}, body));
}

function requestBody(operation) {
	const body = resolve(operation.requestBody);
	if (!body)
		return null;
	const part = make("div", {}, make("h4", {}, "Body"), prose(body.description));
	for (const [type, media] of Object.entries(body.content)) {
		part.append(make("p", { className: "soft" }, type), example(media) || "");
		const details = make("details", {}, make("summary", {}, "Fields"));
		details.append(make("div", { className: "body" }, fieldTable(media.schema)));
		part.append(details);
	}
	return part;
}

function responses(operation) {
	const part = make("div", {}, make("h4", {}, "Answers"));
	for (const [status, reference] of Object.entries(operation.responses)) {
		const response = resolve(reference);
		const summary = make("summary", {}, make("span", { className: "status" }, status), inline((response.description || "").split("\n")[0]));
		const body = make("div", { className: "body" });
		for (const [name, header] of Object.entries(response.headers || {}))
			body.append(make("p", {}, make("code", {}, name), ": ", inline(resolve(header).description || "")));
		for (const [type, media] of Object.entries(response.content || {}))
			body.append(make("p", { className: "soft" }, type), example(media) || "", media.schema ? fieldTable(media.schema) : "");
		part.append(make("details", { open: status.startsWith("2") && exampleOf(Object.values(response.content || {})[0] || {}) !== undefined },
			summary, body));
	}
	return part;
}

function access(operation) {
	if (Array.isArray(operation.security) && operation.security.length === 0)
		return "public";
	return "Authorization: Bearer" + (operation["x-scope"] ? `, ${operation["x-scope"]}` : "");
}

function article(path, method, item, operation) {
	const id = operation.operationId;
	return make("article", { id },
		make("h3", {}, operation.summary || id),
		make("p", { className: "path" }, make("span", { className: "verb " + method }, method.toUpperCase() + " "), make("code", {}, path),
			make("span", { className: "soft" }, "  " + access(operation))),
		prose(operation.description), parameters(operation, item), requestBody(operation), responses(operation));
}

function collect() {
	const groups = new Map((description.tags || []).map((tag) => [tag.name, { tag, entries: [] }]));
	for (const [path, item] of Object.entries(description.paths))
		for (const method of METHODS.filter((m) => item[m]))
			groups.get(item[method].tags[0]).entries.push({ path, method, item, operation: item[method] });
	return [...groups.values()].filter((g) => g.entries.length > 0);
}

function link(entry) {
	return make("li", {}, make("a", { href: "#" + entry.operation.operationId },
		make("span", { className: "verb " + entry.method }, entry.method.toUpperCase()), entry.operation.summary));
}

function show() {
	const main = document.getElementById("main");
	const contents = document.getElementById("contents");
	main.replaceChildren(make("h1", {}, description.info.title, make("span", { className: "soft" }, " " + description.info.version)),
		prose(description.info.description),
		make("p", {}, "The whole description for machines: ", make("a", { href: "/api/openapi.json" }, "/api/openapi.json")));
	for (const group of collect()) {
		const section = make("section", { className: "group" }, make("h2", {}, group.tag.name), prose(group.tag.description));
		const list = make("ul", {});
		for (const entry of group.entries) {
			const shown = article(entry.path, entry.method, entry.item, entry.operation);
			section.append(shown);
			const item = link(entry);
			item.dataset.text = `${entry.method} ${entry.path} ${entry.operation.summary} ${Object.keys(entry.operation.responses).join(" ")}`.toLowerCase();
			item.shown = shown;
			list.append(item);
		}
		main.append(section);
		contents.append(make("div", {}, make("h2", {}, group.tag.name), list));
	}
	if (location.hash)
		document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

function filter(text) {
	const words = text.toLowerCase().split(/\s+/).filter((w) => w);
	for (const item of document.querySelectorAll("#contents li")) {
		const wanted = words.every((w) => item.dataset.text.includes(w));
		item.hidden = item.shown.hidden = !wanted;
	}
	for (const group of document.querySelectorAll("#contents > div"))
		group.hidden = !group.querySelector("li:not([hidden])");
	for (const section of document.querySelectorAll("section.group"))
		section.hidden = !section.querySelector("article:not([hidden])");
}

async function start() {
	try {
		const answer = await fetch("/api/openapi.json");
		if (!answer.ok)
			throw new Error(`the server answered ${answer.status}`);
		description = await answer.json();
		show();
		document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
	} catch (error) {
		document.getElementById("state").textContent = `The description could not be shown: ${error.message}`;
	}
}

start();
