// Package keyref owns the spelling of references to secrets of a key vault, as
// settings have them: @Microsoft.KeyVault(SecretUri=…) and
// @Microsoft.KeyVault(VaultName=…;SecretName=…). It does not resolve them, and
// knows neither vaults nor settings.
package keyref

import (
	"fmt"
	"strings"
)

// Ref names a secret of a vault.
type Ref struct {
	Text    string // as the setting has it
	Host    string // of the SecretUri, with its port, in lower case; "" when the reference gives the vault's name
	Vault   string // the vault's name; of a SecretUri the first label of the host
	Secret  string
	Version string // "" for the newest
}

// Pinned reports whether the reference names one version of the secret.
func (r Ref) Pinned() bool { return r.Version != "" }

// SyntaxError says what is wrong with a reference and where.
type SyntaxError struct {
	Position int // in bytes of the value, from 0
	Problem  string
}

// Error gives what is wrong, with the position counted from 1. It quotes names
// of parts, never their values.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at position %d", e.Problem, e.Position+1)
}

const start = "@Microsoft.KeyVault("

// Parse reads the value of a setting. isReference is false for a value that is
// no reference: it is used as it is. The whole value must be the reference. One
// that is spelled wrongly is a reference too; the error then says what is wrong,
// and the Ref has only its Text for sure. Names of parts may have any case, blanks
// around parts and one semicolon or slash at the end do not count.
func Parse(value string) (ref Ref, isReference bool, err *SyntaxError) {
	if len(value) <= len(start) || !strings.EqualFold(value[:len(start)], start) || value[len(value)-1] != ')' {
		return Ref{}, false, nil
	}
	ref = Ref{Text: value}
	parts, err := split(value)
	if err != nil {
		return ref, true, err
	}
	if uri, by := parts["secreturi"]; by {
		return ref, true, ref.fromURI(uri, parts)
	}
	return ref, true, ref.fromNames(parts, len(value)-1)
}

// part is the value of a part of a reference and where it is.
type part struct {
	text     string
	at       int // of the text
	name     string
	position int // of the name
}

// known are the names of parts as they are spelled.
var known = map[string]string{
	"secreturi": "SecretUri", "vaultname": "VaultName", "secretname": "SecretName", "secretversion": "SecretVersion",
}

// split gives the parts between the parentheses by their names in lower case.
func split(value string) (map[string]part, *SyntaxError) {
	inside, at := value[:len(value)-1], len(start)
	parts := map[string]part{}
	for at <= len(inside) {
		end := len(inside)
		if i := strings.IndexByte(inside[at:], ';'); i >= 0 {
			end = at + i
		}
		p, err := onePart(inside[at:end], at)
		switch _, twice := parts[strings.ToLower(p.name)]; {
		case err != nil:
			return nil, err
		case twice:
			return nil, &SyntaxError{p.position, known[strings.ToLower(p.name)] + " is given twice"}
		case p.name != "":
			parts[strings.ToLower(p.name)] = p
		case end < len(inside): // nothing between two semicolons
			return nil, &SyntaxError{end, "a part is empty"}
		}
		at = end + 1
	}
	if len(parts) == 0 {
		return nil, &SyntaxError{len(start), "there is nothing between the parentheses: SecretUri, or VaultName and SecretName, is missing"}
	}
	return parts, nil
}

// onePart reads "name=text" that begins at a position; blank text gives a part
// without a name.
func onePart(text string, at int) (part, *SyntaxError) {
	trimmed, lead := trim(text)
	if trimmed == "" {
		return part{}, nil
	}
	name, _, has := strings.Cut(trimmed, "=")
	p := part{name: strings.TrimRight(name, blanks), position: at + lead}
	if !has {
		return p, &SyntaxError{p.position, "a part has no equals sign"}
	}
	if known[strings.ToLower(p.name)] == "" {
		return p, &SyntaxError{p.position, fmt.Sprintf("unknown part %q", clip(p.name))}
	}
	rest, skipped := trim(trimmed[len(name)+1:])
	p.text, p.at = rest, p.position+len(name)+1+skipped
	return p, nil
}

const blanks = " \t\r\n"

// trim takes blanks away and says how many of them were in front.
func trim(text string) (trimmed string, lead int) {
	left := strings.TrimLeft(text, blanks)
	return strings.TrimRight(left, blanks), len(text) - len(left)
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

func (r *Ref) fromNames(parts map[string]part, end int) *SyntaxError {
	vault, secret, version := parts["vaultname"], parts["secretname"], parts["secretversion"]
	for _, missing := range []struct{ name, key string }{{"VaultName", "vaultname"}, {"SecretName", "secretname"}} {
		if _, has := parts[missing.key]; !has {
			return &SyntaxError{end, missing.name + " is missing"}
		}
	}
	if err := firstError(checkVault(vault), checkSecret(secret), checkVersion(version)); err != nil {
		return err
	}
	r.Vault, r.Secret, r.Version = vault.text, secret.text, version.text
	return nil
}

func firstError(errs ...*SyntaxError) *SyntaxError {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
