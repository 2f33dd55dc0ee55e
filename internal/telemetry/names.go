package telemetry

import "strings"

// secretWords are the words that make an attribute's name mean a secret.
var secretWords = map[string]bool{
	"key": true, "keys": true, "code": true, "codes": true,
	"secret": true, "secrets": true, "token": true, "tokens": true,
	"password": true, "passwords": true, "passwd": true, "pwd": true,
	"authorization": true, "credential": true, "credentials": true,
	"signature": true, "sig": true, "cookie": true, "sas": true,
}

// harmlessCodes are the words before "code" that make it a number everybody may see.
var harmlessCodes = map[string]bool{
	"status": true, "exit": true, "error": true, "http": true, "response": true, "return": true,
}

// formWords say in which form a secret is given ("keyValue", "token_hash").
var formWords = map[string]bool{
	"value": true, "values": true, "hash": true, "digest": true, "text": true,
	"raw": true, "string": true, "header": true, "bytes": true,
}

// secretSuffixes find secrets in names written without separation ("apikey").
var secretSuffixes = []string{"key", "secret", "token", "password", "authorization", "connectionstring"}

// secretAttribute reports whether an attribute's name says that its value is a
// secret: its last word is one (key, access_token, clientSecret), but not a
// property of one (key_name, tokenType) nor another kind of code (exit_code).
func secretAttribute(name string) bool {
	list := words(name)
	if n := len(list); n > 1 && list[n-1] == "string" && list[n-2] == "connection" {
		return true
	}
	for len(list) > 1 && formWords[list[len(list)-1]] {
		list = list[:len(list)-1]
	}
	if len(list) == 0 {
		return false
	}
	last := list[len(list)-1]
	if last == "code" && len(list) > 1 && harmlessCodes[list[len(list)-2]] {
		return false
	}
	if secretWords[last] {
		return true
	}
	for _, suffix := range secretSuffixes {
		if strings.HasSuffix(last, suffix) {
			return true
		}
	}
	return false
}

// words splits a name at case changes and at everything that is not a letter
// or a digit, and lower-cases the parts.
func words(name string) []string {
	var list []string
	start, flush := 0, func(from, to int) {
		if from < to {
			list = append(list, strings.ToLower(name[from:to]))
		}
	}
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case !alphanumeric(c):
			flush(start, i)
			start = i + 1
		case isUpper(c) && i > start && !isUpper(name[i-1]):
			flush(start, i)
			start = i
		}
	}
	flush(start, len(name))
	return list
}

func alphanumeric(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c >= 0x80
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
