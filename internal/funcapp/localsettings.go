package funcapp

import (
	"path/filepath"
	"strings"
)

const localSettingsFile = "local.settings.json"

// LoadLocalSettings reads local.settings.json of an app folder. Without the
// file the settings are empty; with faults they hold what could be read. An
// encrypted file is a fault. Settings are secrets: no fault holds a value.
//
// The stock tools take an absent IsEncrypted for true and then fail to decrypt
// plain text; here plain text is accepted and the omission noted.
func LoadLocalSettings(root string) (*LocalSettings, []Fault) {
	s := &LocalSettings{}
	var faults []Fault
	r := reporter{file: localSettingsFile, list: &faults}
	data, ok := r.read(filepath.Join(root, localSettingsFile))
	if !ok {
		return s, faults
	}
	s.parse(r, data)
	return s, faults
}

func (s *LocalSettings) parse(r reporter, data []byte) {
	doc, issues := parseDocument(data, namesExact)
	r.issues(withoutContent(issues))
	if doc == nil {
		return
	}
	root := r.section(doc.root, "the file's content")
	if r.boolean(root.get("IsEncrypted"), "IsEncrypted", false) {
		r.at(root.get("IsEncrypted"), `run "func settings decrypt" where it was encrypted, or set IsEncrypted to false and enter the values again`,
			"the values are encrypted for another machine and cannot be read")
		return
	}
	s.Values = r.texts(root.get("Values"), "Values")
	if root.get("IsEncrypted").absent() && len(s.Values) > 0 {
		s.Notes = append(s.Notes, localSettingsFile+`: IsEncrypted is missing; the values are read as plain text (the stock tools expect "IsEncrypted": false)`)
	}
	s.ConnectionStrings = connectionStrings(r, root.get("ConnectionStrings"))
	s.host(r, r.section(root.get("Host"), "Host"))
}

// withoutContent keeps the decoder's words, which show a character of the
// text, out of messages about a file full of secrets.
func withoutContent(issues []issue) []issue {
	for i := range issues {
		if m, _, ok := strings.Cut(issues[i].message, "is not valid JSON"); ok {
			issues[i].message = m + "is not valid JSON"
		}
	}
	return issues
}

func (s *LocalSettings) host(r reporter, n *node) {
	s.Port = r.integer(n.get("LocalHttpPort"), "Host.LocalHttpPort", 0, 0, 65535)
	s.Address = r.str(n.get("LocalHttpAddress"), "Host.LocalHttpAddress")
	s.CORSCredentials = r.boolean(n.get("CORSCredentials"), "Host.CORSCredentials", false)
	for origin := range strings.SplitSeq(r.str(n.get("CORS"), "Host.CORS"), ",") {
		if origin = strings.TrimSpace(origin); origin != "" {
			s.CORS = append(s.CORS, origin)
		}
	}
}

// texts reads an object of scalars; nulls and empty names are skipped.
func (r reporter) texts(n *node, name string) map[string]string {
	n = r.section(n, name)
	if n == nil {
		return nil
	}
	m := make(map[string]string, len(n.members))
	for _, e := range n.members {
		switch {
		case e.name == "" || e.value.absent():
		case !e.value.scalar():
			r.at(e.value, "write the value as text", "%s must hold texts, %s holds an object or list", name, quote(e.name))
		case strings.ContainsAny(e.name, "=\x00") || strings.Contains(e.value.text, "\x00"):
			r.at(e.value, "rename the setting", "%s of %s cannot be an environment variable: it holds \"=\" in its name or a zero byte", quote(e.name), name)
		default:
			m[e.name] = e.value.text
		}
	}
	return m
}

// connectionStrings reads both forms: the text itself, or an object
// {ConnectionString, ProviderName}.
func connectionStrings(r reporter, n *node) map[string]string {
	n = r.section(n, "ConnectionStrings")
	if n == nil {
		return nil
	}
	flat := &node{kind: objectNode}
	for _, e := range n.members {
		v := e.value
		if v.kind == objectNode {
			if v = v.get("ConnectionString"); v.absent() {
				r.at(e.value, `write {"ConnectionString": "…"}`, "ConnectionStrings: %s has no ConnectionString", quote(e.name))
			}
		}
		flat.members = append(flat.members, member{e.name, v})
	}
	return r.texts(flat, "ConnectionStrings")
}
