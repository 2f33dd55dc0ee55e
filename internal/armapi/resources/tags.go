package resources

import (
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// Limits of tags.
const (
	maxTags     = 50
	maxTagName  = 512 // characters
	maxTagValue = 256 // characters
)

// CheckTags fails with 400 for tags that a resource cannot have.
func CheckTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return arm.Faultf(http.StatusBadRequest, "TooManyTags", "A resource has at most %d tags, not %d.", maxTags, len(tags))
	}
	folded := make(map[string]bool, len(tags))
	for name, value := range tags {
		switch {
		case name == "" || utf8.RuneCountInString(name) > maxTagName || strings.ContainsAny(name, `<>%&\?/`):
			return arm.Faultf(http.StatusBadRequest, "InvalidTagNameCharacters",
				`The tag name '%.60s' is invalid: it has 1 to %d characters and none of <>%%&\?/.`, name, maxTagName)
		case utf8.RuneCountInString(value) > maxTagValue:
			return arm.Faultf(http.StatusBadRequest, "InvalidTagValueLength", "The value of tag '%.60s' has more than %d characters.", name, maxTagValue)
		case folded[strings.ToLower(name)]:
			return arm.Faultf(http.StatusBadRequest, "DuplicateTagName", "The tag name '%.60s' occurs twice; case does not count.", name)
		}
		folded[strings.ToLower(name)] = true
	}
	return nil
}
