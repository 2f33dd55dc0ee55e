package secrets

import (
	"fmt"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/vault"
)

func invalid(field, why string) error {
	return problem.Wrap(problem.Invalid, fmt.Sprintf("member '%s' %s", field, why), vault.BadParameter)
}

func checkValue(value string) error {
	switch {
	case len(value) > MaxValue:
		return invalid("value", fmt.Sprintf("has %d bytes, more than the limit of %d", len(value), MaxValue))
	case !utf8.ValidString(value):
		return invalid("value", "must be text in UTF-8")
	}
	return nil
}

func (a Attributes) check() error {
	if a.ContentType != nil && (utf8.RuneCountInString(*a.ContentType) > MaxContentType || !utf8.ValidString(*a.ContentType)) {
		return invalid("contentType", fmt.Sprintf("must be text of at most %d characters", MaxContentType))
	}
	if len(a.Tags) > MaxTags {
		return invalid("tags", fmt.Sprintf("has %d tags, more than the limit of %d", len(a.Tags), MaxTags))
	}
	for name, value := range a.Tags {
		for _, text := range []string{name, value} {
			if utf8.RuneCountInString(text) > MaxTag || !utf8.ValidString(text) {
				return invalid("tags", fmt.Sprintf("has a tag whose name or value is no text of at most %d characters", MaxTag))
			}
		}
	}
	return nil
}
