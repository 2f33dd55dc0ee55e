package keyref

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits of names, as vaults have them. A name of a vault that is shorter than any
// vault's is no fault of spelling: that vault is not found.
const (
	minVault  = 1
	maxVault  = 24
	maxSecret = 127
)

const scheme = "https://"

// fromURI reads https://{vault}.…/secrets/{name}[/{version}][/].
func (r *Ref) fromURI(uri part, parts map[string]part) *SyntaxError {
	for name, p := range parts {
		if name != "secreturi" {
			return &SyntaxError{p.position, known[name] + " cannot be given together with SecretUri"}
		}
	}
	if uri.text == "" {
		return &SyntaxError{uri.at, "SecretUri is empty"}
	}
	if len(uri.text) < len(scheme) || !strings.EqualFold(uri.text[:len(scheme)], scheme) {
		return &SyntaxError{uri.at, "SecretUri must begin with https://"}
	}
	if i := strings.IndexAny(uri.text, "?#@%\\ \t\r\n"); i >= 0 {
		return &SyntaxError{uri.at + i, fmt.Sprintf("SecretUri cannot have the character %q", uri.text[i])}
	}
	at := uri.at + len(scheme)
	host, path, _ := strings.Cut(uri.text[len(scheme):], "/")
	if err := r.fromHost(host, at); err != nil {
		return err
	}
	return r.fromPath(path, at+len(host)+1)
}

func (r *Ref) fromHost(host string, at int) *SyntaxError {
	name, port, has := strings.Cut(host, ":")
	if n, err := strconv.ParseUint(port, 10, 16); has && (err != nil || n == 0) {
		return &SyntaxError{at + len(name) + 1, "the port of SecretUri is not a number from 1 to 65535"}
	}
	labels := strings.Split(name, ".")
	if err := checkVault(part{text: labels[0], at: at}); err != nil {
		return err
	}
	if len(labels) < 2 {
		return &SyntaxError{at, "the host of SecretUri must be the vault's name followed by a domain"}
	}
	position := at
	for _, label := range labels {
		if i := strings.IndexFunc(label, notWord); i >= 0 || label == "" || len(label) > 63 {
			return &SyntaxError{position + max(i, 0), "the host of SecretUri is not a host name"}
		}
		position += len(label) + 1
	}
	r.Host, r.Vault = strings.ToLower(host), labels[0]
	return nil
}

func (r *Ref) fromPath(path string, at int) *SyntaxError {
	segs := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if !strings.EqualFold(segs[0], "secrets") {
		return &SyntaxError{at, "the path of SecretUri must begin with /secrets/"}
	}
	if len(segs) < 2 {
		return &SyntaxError{at + len(segs[0]), "the name of the secret is missing in SecretUri"}
	}
	secret := part{text: segs[1], at: at + len(segs[0]) + 1}
	var version part
	if len(segs) > 2 {
		version = part{text: segs[2], at: secret.at + len(secret.text) + 1}
		if version.text == "" {
			return &SyntaxError{version.at, "the version in SecretUri is empty"}
		}
	}
	if len(segs) > 3 {
		return &SyntaxError{version.at + len(version.text), "SecretUri has more than a name and a version"}
	}
	if err := firstError(checkSecret(secret), checkVersion(version)); err != nil {
		return err
	}
	r.Secret, r.Version = secret.text, version.text
	return nil
}

// notWord finds what names of vaults, secrets and versions cannot have.
func notWord(c rune) bool {
	letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	return !letter && (c < '0' || c > '9') && c != '-'
}

func checkVault(p part) *SyntaxError {
	if err := checkName(p, "the name of the vault", minVault, maxVault); err != nil {
		return err
	}
	digit := p.text[0] <= '9'
	switch double := strings.Index(p.text, "--"); {
	case digit:
		return &SyntaxError{p.at, "the name of the vault must begin with a letter"}
	case double >= 0:
		return &SyntaxError{p.at + double, "the name of the vault cannot have two hyphens in a row"}
	case strings.HasSuffix(p.text, "-"):
		return &SyntaxError{p.at + len(p.text) - 1, "the name of the vault cannot end with a hyphen"}
	}
	return nil
}

func checkSecret(p part) *SyntaxError { return checkName(p, "the name of the secret", 1, maxSecret) }

func checkVersion(p part) *SyntaxError { return checkName(p, "the version", 0, maxSecret) }

func checkName(p part, what string, least, most int) *SyntaxError {
	if i := strings.IndexFunc(p.text, notWord); i >= 0 {
		return &SyntaxError{p.at + i, what + " can only have letters, digits and hyphens"}
	}
	if n := len(p.text); n < least || n > most {
		return &SyntaxError{p.at, fmt.Sprintf("%s must have %d to %d characters, not %d", what, least, most, n)}
	}
	return nil
}
